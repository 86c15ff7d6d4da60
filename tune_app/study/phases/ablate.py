"""Small changes to the best design so far, one at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tune_app.plan.identity import canonical
from tune_app.plan.labels import axis_name, describe_value
from tune_app.study.found import Found, mean_scores, noise_values
from tune_app.study.frame import Frame
from tune_app.study.phases.base import Entry, Phase, Promotion, PromotionError, needs

_SHARE = "embedding_ratio"
_BEFORE = ("rank", "combine")


@dataclass(frozen=True, kw_only=True)
class AblatePhase(Phase):
    """Each value of each axis in place of the best design's own, at its width if asked.

    At a fixed vocabulary and a tied head the embedding's share fixes the width, so a change of the
    vocabulary or of the head changes either the share or the width. With `matched` the width stays
    and the share moves.
    """

    KIND: ClassVar[str] = "ablate"
    ABOUT: ClassVar[str] = "small changes to the best, one at a time"

    axes: Mapping[str, Any] = field(default_factory=dict)
    """Setting → values; for example vocab_size and embedding."""
    matched: tuple[str, ...] = ("d_model",)
    """Sizes of the best design that its variants keep; the embedding's share is then free."""

    def check(self, study: Frame, before: Sequence[Phase]) -> None:
        needs(self, before, *_BEFORE)
        if not self.axes:
            raise ValueError(
                f"the phase {self.name!r} has no cells: it names no axes; add for example "
                'axes = { embedding = ["tied", "untied"] }'
            )
        for name, values in self.axes.items():
            if not isinstance(name, str):
                raise ValueError(f"the phase {self.name!r} changes one setting at a time: {name}")
            if not isinstance(values, (list, tuple)) or not values:
                raise ValueError(f"the phase {self.name!r}: {name} is {values!r}; give a list")
            study.space(axes={name: list(values)}, tokens=self.tokens_in(study))

    def all_axes(self, study: Frame) -> Mapping[Any, Any]:
        return self.axes

    def most_runs(self, study: Frame) -> int:
        return (2 + sum(map(len, self.axes.values()))) * self.seeds

    def promote(self, study: Frame, found: Found, *, seeds: Sequence[int]) -> Promotion:
        tokens = int(found.of(*_BEFORE)[-1].results.sweep.tokens)
        means = mean_scores(found.scores(tokens, kinds=_BEFORE))
        if not means:
            raise PromotionError(f"no design has finished at {tokens:,} tokens, so none is varied")
        best = next(iter(means))
        values = {**found.values_of(best), "tokens": self.tokens_in(study)}
        sizes = self._matched(found, best)
        baseline = study.baseline_cell(tokens=self.tokens_in(study), rate=found.rate).values()
        entries = [Entry(values=one, seeds=tuple(seeds)) for one in (baseline, values)]
        told = []
        for name, listed in self.axes.items():
            for value in listed:
                if canonical(value) == canonical(values.get(name)):
                    continue
                variant = {**values, **sizes, name: value}
                entries.append(Entry(values=variant, seeds=tuple(seeds)))
                told.append(f"{axis_name(name)} {describe_value(name, value)}")
        at = ", ".join(f"{name} {size}" for name, size in sizes.items() if size is not None)
        how = f", at {at}, which moves the embedding's share" if at else ""
        return Promotion(
            entries=tuple(entries),
            reason=f"the best so far, at {means[best]:.4f} bpb, with one change each: "
            f"{', '.join(told) or 'none that it does not have already'}{how}",
            evidence={
                "best": {name: values.get(name) for name in self.axes},
                "bits_per_byte": means[best],
                "matched": sizes,
                "noise": noise_values(found.noise(tokens)),
            },
        )

    def _matched(self, found: Found, design: str) -> dict[str, Any]:
        """The best design's own sizes that variants keep, with the share left free."""
        if not self.matched:
            return {}
        run = next(run for run in found.runs if run.design == design)
        config = run.result.cell.config or {}
        unknown = [name for name in self.matched if config.get(name) is None]
        if unknown:
            raise PromotionError(
                f"matched names {unknown[0]!r}, a size that the best design has not; leave it out"
            )
        return {**{name: config[name] for name in self.matched}, _SHARE: None}
