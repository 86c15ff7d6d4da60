"""The few best, on fresh seeds and at the full budget: what the verdict is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tune_app.statistics.noise import margin
from tune_app.study.found import Found, design_key, mean_scores, names_of, noise_values
from tune_app.study.frame import Frame
from tune_app.study.phases.base import Entry, Phase, Promotion, PromotionError, needs

BEFORE = ("rank", "combine", "ablate")


@dataclass(frozen=True, kw_only=True)
class FinalistsPhase(Phase):
    """Those that the ranking does not tell apart from its leader, and the baseline."""

    KIND: ClassVar[str] = "finalists"
    ABOUT: ClassVar[str] = "the best and the baseline, on fresh seeds and the test split"
    FRESH: ClassVar[bool] = True

    seeds: int = 3
    most: int = 4
    """Designs at most, besides the baseline."""
    least: int = 2
    """Designs at least, also if the ranking tells them apart from its leader."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seeds < 2:
            raise ValueError(
                f"seeds is {self.seeds}; finalists need at least 2 fresh seeds, better 3 or more"
            )
        if not 1 <= self.least <= self.most:
            raise ValueError(
                f"least is {self.least} and most {self.most}; finalists need 1 ≤ least ≤ most"
            )

    def check(self, study: Frame, before: Sequence[Phase]) -> None:
        needs(self, before, *BEFORE)

    def most_runs(self, study: Frame) -> int:
        return (self.most + 1) * self.seeds

    def promote(self, study: Frame, found: Found, *, seeds: Sequence[int]) -> Promotion:
        tokens = int(found.of(*BEFORE)[-1].results.sweep.tokens)
        scores = found.scores(tokens, kinds=BEFORE)
        baseline = study.baseline_cell(tokens=self.tokens_in(study), rate=found.rate)
        means = mean_scores(scores)
        if not means:
            raise PromotionError(
                f"no design has finished at {tokens:,} tokens, so there are no finalists; look at "
                "the failures in the reports of the phases before"
            )
        noise = found.noise(tokens)
        leader = next(iter(means))
        close = [
            design
            for design in means
            if noise is not None
            and not margin(
                means[design] - means[leader],
                seeds=len(scores[leader]),
                other_seeds=len(scores[design]),
                noise=noise,
            ).told_apart
        ]
        ordered = [*close, *(design for design in means if design not in close)]
        others = [design for design in ordered if design != design_key(baseline.values())]
        number = max(self.least, sum(design in close for design in others))
        chosen = others[: min(self.most, number)]
        values = [found.values_of(design) for design in means]
        names = dict(zip(means, names_of(values), strict=True))
        entries = [baseline.values()] + [
            {**found.values_of(design), "tokens": self.tokens_in(study)} for design in chosen
        ]
        ranking: list[dict[str, Any]] = [
            {
                "design": names[design],
                "bits_per_byte": means[design],
                "seeds": len(scores[design]),
                "promoted": design in chosen,
            }
            for design in means
        ]
        told = "the seeds' noise is unknown"
        if noise is not None:
            told = (
                f"{len(close)} are not told apart from the leader (σ = {noise.sigma:.4f} bpb of "
                f"{noise.degrees_of_freedom} degrees of freedom)"
            )
        return Promotion(
            entries=tuple(Entry(values=one, seeds=tuple(seeds)) for one in entries),
            tests_all=True,
            reason=f"of {len(means)} designs that finished, {told}; the best {len(chosen)} and the "
            f"baseline go on to {self.tokens_in(study):,} tokens on {self.seeds} fresh seeds",
            evidence={"ranking": ranking, "tokens": tokens, "noise": noise_values(noise)},
        )
