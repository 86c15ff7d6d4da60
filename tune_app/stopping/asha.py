"""ASHA's numbers, for whoever plans a sweep without Ray."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class AshaSettings:
    """ASHA's numbers. Raises ValueError for numbers that make no rungs."""

    reduction_factor: int = 2
    """η: one of η cells passes a rung."""
    grace_fraction: float = 0.25
    """The first rung, as a share of a trial's tokens."""

    def __post_init__(self) -> None:
        if self.reduction_factor < 2:
            raise ValueError(
                f"ASHA's reduction factor is {self.reduction_factor}; it must be at least 2"
            )
        if not 0 < self.grace_fraction < 1:
            raise ValueError(
                f"ASHA's first rung lies at {self.grace_fraction} of a trial; "
                "it must be between 0 and 1, for example 0.25"
            )

    def milestones(self, tokens: int) -> list[int]:
        """Tokens of the rungs of a trial."""
        first = max(1, round(self.grace_fraction * tokens))
        rungs: list[int] = []
        milestone = first
        while milestone < tokens:
            rungs.append(milestone)
            milestone *= self.reduction_factor
        return rungs

    def as_dict(self) -> dict[str, Any]:
        return {"name": "asha", **asdict(self)}

    def describe(self, tokens: int) -> str:
        """The rungs in one line, for the person who starts a sweep."""
        rungs = ", ".join(f"{milestone:,}" for milestone in self.milestones(tokens))
        return f"asha, best 1/{self.reduction_factor} of the earlier arrivals at {rungs} tokens"
