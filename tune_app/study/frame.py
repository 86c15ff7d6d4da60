"""What all phases of a study share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tune_app.plan.cell import Cell
from tune_app.plan.space import Space, expand
from tune_app.statistics.best import ALPHA

RATE = "learning_rate_factor"
SMALLEST_DIFFERENCE = 0.005
"""Bits per byte."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The values that a study's phases train with. Raises ValueError for impossible ones."""

    tokens: int
    """Baseline tokens of a run, in phases that do not name their own."""
    axes: Mapping[Any, Any] = field(default_factory=dict)
    """For phases that rank and name none: setting → values, as in a search space."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Values that all cells share."""
    baseline: Mapping[str, Any] = field(default_factory=dict)
    """Values of the baseline that differ from the project's."""
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    """For phases that rank and name none."""
    kill_rule: Mapping[str, Any] = field(default_factory=dict)
    alpha: float = ALPHA
    """Probability of naming a winner where none is."""
    smallest_difference: float = SMALLEST_DIFFERENCE
    """That matters, in bits per byte."""

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise ValueError(f"tokens is {self.tokens}; it must be at least 1")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha:g}; it must be above 0 and below 1")
        if not (math.isfinite(self.smallest_difference) and self.smallest_difference >= 0):
            raise ValueError(
                f"smallest_difference is {self.smallest_difference:g}; it must be at least 0"
            )

    def space(
        self, *, axes: Mapping[Any, Any], tokens: int, rate: float = 1.0, name: str = "study"
    ) -> Space:
        """The search space of a phase.

        Args:
            axes: what varies in it.
            tokens: of a run.
            rate: factor of the learning rate that the study has settled on.
            name: of the phase.
        """
        fixed = {**self.fixed, "tokens": tokens}
        if rate != 1.0 and RATE not in axes:
            fixed[RATE] = rate * float(fixed.get(RATE, 1.0))
        return Space(name=name, axes=axes, fixed=fixed, baseline=self.baseline)

    def baseline_cell(self, *, tokens: int, rate: float = 1.0) -> Cell:
        """The baseline, as a phase trains it."""
        return expand(self.space(axes={}, tokens=tokens, rate=rate), {}, seeds=(0,)).cells[0]
