"""What a chaos run found: checks, and whether it passed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Report:
    """The outcome of a chaos run."""

    checks: Mapping[str, Sequence[str]]
    """What must hold → what is wrong with it; empty where it holds."""
    text: str
    """Figures for a person."""
    values: Mapping[str, object]
    """The same for a program."""

    @property
    def passed(self) -> bool:
        return not any(self.checks.values())

    def as_text(self) -> str:
        lines = []
        for name, wrong in self.checks.items():
            lines.append(f"{'FAILED' if wrong else 'ok':<7} {name}")
            lines += [f"          {item}" for item in wrong[:_SHOWN]]
            if len(wrong) > _SHOWN:
                lines.append(f"          … and {len(wrong) - _SHOWN} more")
        return "\n".join([self.text, "", *lines])

    def as_values(self) -> dict[str, object]:
        checks = {name: list(wrong) for name, wrong in self.checks.items()}
        return {"passed": self.passed, **self.values, "checks": checks}
