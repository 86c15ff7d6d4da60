"""One design under several names: a verdict on it should be that these data cannot tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tune_app.study.found import Found
from tune_app.study.frame import RATE, Frame
from tune_app.study.phases.base import Entry, Phase, Promotion


@dataclass(frozen=True, kw_only=True)
class ControlPhase(Phase):
    """The baseline under several names, each on seeds of its own; perhaps one that is spoilt.

    It shows on real training what the verdict's error rate promises: where nothing differs no
    winner is named, and where something does the loser is.
    """

    KIND: ClassVar[str] = "control"
    ABOUT: ClassVar[str] = "the baseline under several names"
    FRESH: ClassVar[bool] = True

    seeds: int = 18
    """Of all names together."""
    names: int = 6
    planted: float | None = None
    """Factor of the learning rate of the last name; None: it is like the others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.names < 2:
            raise ValueError(f"names is {self.names}; a control needs at least 2")
        if self.seeds % self.names or self.seeds // self.names < 2:
            raise ValueError(
                f"seeds is {self.seeds} for {self.names} names; give each at least 2, all alike, "
                f"for example {3 * self.names}"
            )
        if self.planted is not None and not (math.isfinite(self.planted) and self.planted > 0):
            raise ValueError(f"planted is {self.planted:g}; it must be above 0, for example 0.1")

    def most_runs(self, study: Frame) -> int:
        return self.seeds

    def promote(self, study: Frame, found: Found, *, seeds: Sequence[int]) -> Promotion:
        values = study.baseline_cell(tokens=self.tokens_in(study), rate=found.rate).values()
        each = self.seeds // self.names
        own, last = tuple(seeds[:-each]), tuple(seeds[-each:])
        entries = [Entry(values=values, seeds=own if self.planted else tuple(seeds))]
        if self.planted:
            spoilt = {**values, RATE: self.planted * float(values[RATE])}
            entries.append(Entry(values=spoilt, seeds=last))
        return Promotion(
            entries=tuple(entries),
            reason=f"the baseline under {self.names} names, on {each} seeds each"
            + (f", the last at the learning rate × {self.planted:g}" if self.planted else ""),
            evidence={"names": self.names, "seeds": list(seeds), "planted": self.planted},
        )
