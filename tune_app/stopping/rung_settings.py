"""Where the rungs of a scheduler are, and how many cells pass one."""

from __future__ import annotations

from dataclasses import dataclass

from tune_app.stopping.rule import RuleSettings


@dataclass(frozen=True, kw_only=True)
class RungSettings(RuleSettings):
    """Settings of a scheduler with rungs. Raises ValueError for invalid ones."""

    reduction_factor: int = 2
    """η: one in η cells passes a rung."""
    grace_fraction: float = 0.25
    """The first rung, as a fraction of a trial's tokens."""

    def __post_init__(self) -> None:
        of = self.TITLE.by
        if self.reduction_factor < 2:
            raise ValueError(
                f"reduction_factor of {of} is {self.reduction_factor}; it must be at least 2"
            )
        if not 0 < self.grace_fraction < 1:
            raise ValueError(
                f"grace_fraction of {of} is {self.grace_fraction}; it must be between 0 and 1, for "
                "example 0.25 for a first rung at a quarter of a trial"
            )

    def milestones(self, tokens: int) -> tuple[int, ...]:
        """Baseline tokens of the rungs; the end of a trial is not one."""
        rungs: list[int] = []
        milestone = max(1, round(self.grace_fraction * tokens))
        while milestone < tokens:
            rungs.append(milestone)
            milestone *= self.reduction_factor
        return tuple(rungs)

    def rungs(self, tokens: int) -> tuple[int, ...]:
        """The milestones. Raises ValueError if there is none."""
        milestones = self.milestones(tokens)
        if not milestones:
            raise ValueError(
                f"the first rung of {self.TITLE.by}, at {self.grace_fraction} of {tokens:,} "
                "tokens, is already the end of a trial; train on more tokens, or use "
                "--scheduler none"
            )
        return milestones

    def rungs_in_words(self, tokens: int) -> str:
        return ", ".join(f"{milestone:,}" for milestone in self.milestones(tokens)) + " tokens"
