"""The first phase: the baseline on several seeds, and at other learning rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from tune_app.study.found import Found
from tune_app.study.frame import RATE, Frame
from tune_app.study.phases.base import Entry, Phase, Promotion


@dataclass(frozen=True, kw_only=True)
class BaselinePhase(Phase):
    """Measures the seeds' noise, and whether another learning rate is better."""

    KIND: ClassVar[str] = "baseline"
    ABOUT: ClassVar[str] = "the baseline on several seeds and at other learning rates"

    seeds: int = 5
    rates: tuple[float, ...] = (0.5, 2.0)
    """Other factors of its learning rate."""
    rate_seeds: int = 2
    """Seeds at each of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seeds < 2:
            raise ValueError(
                f"seeds is {self.seeds}; noise needs at least 2 seeds, and is known well from 5 on"
            )
        if not 1 <= self.rate_seeds <= self.seeds:
            raise ValueError(
                f"rate_seeds is {self.rate_seeds}; it must be from 1 to seeds, {self.seeds}"
            )
        refuse_factors(self.rates)

    def check(self, study: Frame, before: Sequence[Phase]) -> None:
        if before:
            raise ValueError(f"the phase {self.name!r} ({self.KIND}) must be the first one")

    def most_runs(self, study: Frame) -> int:
        return self.seeds + len(self.rates) * self.rate_seeds

    def promote(self, study: Frame, found: Found, *, seeds: Sequence[int]) -> Promotion:
        own = study.baseline_cell(tokens=self.tokens_in(study))
        factor = own.settings.learning_rate_factor
        entries = [Entry(values=own.values(), seeds=tuple(seeds))]
        for rate in self.rates:
            settings = replace(own.settings, learning_rate_factor=rate * factor)
            values = replace(own, settings=settings).values()
            entries.append(Entry(values=values, seeds=tuple(seeds[: self.rate_seeds])))
        return Promotion(
            entries=tuple(entries),
            nuisance=(RATE,) if self.rates else (),
            reason=f"the baseline on {self.seeds} seeds measures the seeds' noise",
            evidence={"rates": list(self.rates)},
        )


def refuse_factors(factors: Sequence[float]) -> None:
    """Raises ValueError for factors of the learning rate that are none, or are there twice."""
    for factor in factors:
        if not (math.isfinite(factor) and factor > 0) or factor == 1:
            raise ValueError(
                f"{factor:g} is no other learning rate; a factor must be above 0 and not 1, "
                "for example 0.5 or 2"
            )
    if len(set(factors)) < len(factors):
        raise ValueError("a factor of the learning rate is there twice; keep it once")
