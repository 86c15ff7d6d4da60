"""The few best in a race: fresh seeds, block by block, for as long as there is a doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from tune_app.study.found import Found
from tune_app.study.frame import Frame
from tune_app.study.phases.base import Promotion
from tune_app.study.phases.finalists import FinalistsPhase


@dataclass(frozen=True, kw_only=True)
class RacePhase(FinalistsPhase):
    """The finalists, of which each is trained only on as many seeds as it takes.

    A design leaves once another one is better beyond a bound that holds however often one looks;
    the race ends when one is left, or when the rest differ by less than the study's smallest
    difference. The noise that the phases before have measured is what it begins with.
    """

    KIND: ClassVar[str] = "race"
    ABOUT: ClassVar[str] = "the best and the baseline, seed by seed until it is clear"

    seeds: int = 8
    """At most."""

    def promote(self, study: Frame, found: Found, *, seeds: Sequence[int]) -> Promotion:
        promotion = super().promote(study, found, seeds=seeds)
        noise = found.noise(self.tokens_in(study))
        scheduler: dict[str, Any] = {
            "name": "race",
            "alpha": study.alpha,
            # A study may name 0: then none is small enough to end it.
            "smallest_difference": study.smallest_difference or 1e-9,
        }
        told = "the race itself measures the seeds' noise"
        if noise is not None and noise.sigma > 0:
            scheduler |= {
                "sigma": noise.sigma,
                "degrees_of_freedom": noise.degrees_of_freedom,
            }
            told = f"the race begins with σ = {noise.sigma:.4f} bpb at this length"
        return replace(
            promotion,
            scheduler=scheduler,
            reason=f"{promotion.reason}, in a race of {self.seeds} blocks at most; {told}",
        )
