"""What a rehearsal found: an assumption, what was seen, and whether they agree."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass


class Outcome(enum.Enum):
    AS_ASSUMED = "as assumed"
    DIFFERS = "DIFFERS"
    UNKNOWN = "not known"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report."""

    assumption: str
    outcome: Outcome
    seen: str

    @property
    def line(self) -> str:
        return f"{self.outcome.value:<11}  {self.assumption}: {self.seen}"


def compared(assumption: str, *, holds: bool | None, seen: object) -> Finding:
    """A finding; `holds` is None where it could not be seen."""
    outcome = {True: Outcome.AS_ASSUMED, False: Outcome.DIFFERS, None: Outcome.UNKNOWN}[holds]
    return Finding(assumption=assumption, outcome=outcome, seen=str(seen)[:300])


def report(findings: Sequence[Finding]) -> str:
    """Text to send in: no key, no address and no label of other instances is in it."""
    counts = {kind: sum(one.outcome is kind for one in findings) for kind in Outcome}
    summary = ", ".join(f"{count} {kind.value}" for kind, count in counts.items())
    return "\n".join([*(one.line for one in findings), summary])
