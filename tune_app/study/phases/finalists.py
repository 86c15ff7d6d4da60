"""The few best, on fresh seeds and at the full budget: what the verdict is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tune_app.formats import counted
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
    """Designs at least, also if the ranking tells them apart from its leader, or left them behind
    at a rung."""

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
        behind = [
            one
            for one in found.left_behind(tokens, kinds=BEFORE)
            if one.design != design_key(baseline.values())
        ][: max(0, self.least - len(chosen))]
        taken = [one.design for one in behind]
        values = [found.values_of(design) for design in (*means, *taken)]
        names = dict(zip((*means, *taken), names_of(values), strict=True))
        entries = [baseline.values()] + [
            {**found.values_of(design), "tokens": self.tokens_in(study)}
            for design in (*chosen, *taken)
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
        evidence: dict[str, Any] = {
            "ranking": ranking,
            "tokens": tokens,
            "noise": noise_values(noise),
        }
        told = "the seeds' noise is unknown"
        if noise is not None:
            told = (
                f"{len(close)} {'is' if len(close) == 1 else 'are'} not told apart from the leader "
                f"(σ = {noise.sigma:.4f} bpb of "
                f"{counted(noise.degrees_of_freedom, 'degree')} of freedom)"
            )
        who = f"the best {len(chosen)} and the baseline" if chosen else "the baseline"
        if behind:
            evidence["left_behind"] = [
                {
                    "design": names[one.design],
                    "bits_per_byte": one.bits_per_byte,
                    "seeds": one.seeds,
                    "milestone": one.milestone,
                }
                for one in behind
            ]
            who = (
                f"{who}, with {counted(len(behind), 'design')} that a rung left behind, as so few "
                "have finished,"
            )
        return Promotion(
            entries=tuple(Entry(values=one, seeds=tuple(seeds)) for one in entries),
            tests_all=True,
            reason=f"of {counted(len(means), 'design')} that finished, {told}; {who} go on to "
            f"{self.tokens_in(study):,} tokens on {counted(self.seeds, 'fresh seed')}",
            evidence=evidence,
        )
