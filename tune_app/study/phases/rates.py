"""Winner and runner-up at other learning rates: one that a factor of two turns has not won."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tune_app.study.found import Found
from tune_app.study.frame import RATE, Frame
from tune_app.study.phases.base import Entry, Phase, Promotion, PromotionError, needs
from tune_app.study.phases.baseline import refuse_factors
from tune_app.study.verdict import study_verdict


@dataclass(frozen=True, kw_only=True)
class RatesPhase(Phase):
    """The two best finalists at other learning rates, on the finalists' seeds."""

    KIND: ClassVar[str] = "rates"
    ABOUT: ClassVar[str] = "winner and runner-up at other learning rates"

    seeds: int = 3
    """Of the finalists' seeds, how many."""
    rates: tuple[float, ...] = (0.5, 2.0)
    """Factors of the learning rate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_factors(self.rates)
        if not self.rates:
            raise ValueError("rates is empty, so there is nothing to train; name some, as [0.5, 2]")

    def check(self, study: Frame, before: Sequence[Phase]) -> None:
        needs(self, before, "finalists", "race")
        finalists = [phase for phase in before if phase.KIND in ("finalists", "race")][-1]
        if self.tokens is not None and self.tokens != finalists.tokens_in(study):
            raise ValueError(
                f"the phase {self.name!r} has tokens of its own, but repeats the verdict of "
                f"{finalists.name!r}; leave them out"
            )
        if self.seeds > finalists.seeds:
            raise ValueError(
                f"the phase {self.name!r} has {self.seeds} seeds, and the finalists only "
                f"{finalists.seeds}; give it as many or fewer"
            )
        # It trains as long as they do, which only the study knows.
        object.__setattr__(self, "tokens", finalists.tokens_in(study))

    def most_runs(self, study: Frame) -> int:
        # What the finalists trained is adopted.
        return 2 * len(self.rates) * self.seeds

    def promote(self, study: Frame, found: Found, *, seeds: Sequence[int]) -> Promotion:
        told = study_verdict(study, found)
        if told is None or told.verdict.runner_up is None:
            raise PromotionError(
                "fewer than two finalists have finished on a common seed, so there is no verdict "
                "to repeat at other learning rates"
            )
        own = told.verdict.seeds[: self.seeds]
        tokens = self.tokens_in(study)
        baseline = study.baseline_cell(tokens=tokens, rate=found.rate).values()
        two = [told.values[name] for name in (told.verdict.leader, told.verdict.runner_up)]
        values = [
            {**one, "tokens": tokens, RATE: factor * float(one[RATE])}
            for factor in (1.0, *self.rates)
            for one in two
        ]
        return Promotion(
            entries=tuple(Entry(values=one, seeds=own) for one in (baseline, *values)),
            tests_all=told.split == "test",
            reason=f"{told.verdict.leader} and {told.verdict.runner_up} at the learning rate × "
            f"{' and × '.join(f'{factor:g}' for factor in self.rates)}",
            evidence={
                "leader": told.verdict.leader,
                "runner_up": told.verdict.runner_up,
                "margin": told.verdict.margin,
                "rates": list(self.rates),
            },
        )
