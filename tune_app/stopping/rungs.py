"""ASHA's rungs: which cell reached which rung with which score, and whether it continues.

The variant that stops a trial instead of pausing it, as in Ray Tune (`AsyncHyperBandScheduler`
with `stop_last_trials=False`): a trial is compared with those that reached the rung earlier, so
the first one always continues. Source: Li et al., 2020, "A System for Massively Parallel
Hyperparameter Tuning".
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A cell has reached a rung."""

    stop: bool
    milestone: int
    """Baseline tokens of the rung."""
    cutoff: float | None
    """The highest bits per byte that passes; None for the first arrival."""
    earlier: int
    """Cells that reached the rung earlier."""
    last_kept: str | None = None
    """The worst of the earlier cells that lie within the cutoff; None for the first arrival."""


class Rungs:
    """Keeps the arrivals at each rung.

    Args:
        milestones: baseline tokens of the rungs, ascending.
        reduction_factor: η: one in η cells passes a rung.
    """

    def __init__(self, milestones: Sequence[int], *, reduction_factor: int) -> None:
        self._kept = 1 / reduction_factor
        self._recorded: dict[int, dict[str, float]] = {milestone: {} for milestone in milestones}
        self._sorted: dict[int, list[float]] = {milestone: [] for milestone in milestones}

    @property
    def recorded(self) -> Mapping[int, Mapping[str, float]]:
        """Rung → cell → bits per byte, in order of arrival."""
        return self._recorded

    def arrive(self, cell: str, tokens: int, bits_per_byte: float) -> Arrival | None:
        """Records a cell at the highest rung that `tokens` reaches; None if it is not a new one.

        A skipped rung gets no value: one from later in training would be better than the others
        were there, and would stop them wrongly.

        tokens: baseline tokens.
        bits_per_byte: finite.
        """
        reached = [milestone for milestone in self._recorded if milestone <= tokens]
        if not reached or cell in self._recorded[reached[-1]]:
            return None
        milestone = reached[-1]
        earlier = self._sorted[milestone]
        cutoff = -_quantile(earlier, 1 - self._kept) if earlier else None
        within = {
            name: score
            for name, score in self._recorded[milestone].items()
            if cutoff is not None and score <= cutoff
        }
        arrival = Arrival(
            last_kept=max(within, key=within.__getitem__) if within else None,
            stop=cutoff is not None and bits_per_byte > cutoff,
            milestone=milestone,
            cutoff=cutoff,
            earlier=len(earlier),
        )
        self._recorded[milestone][cell] = bits_per_byte
        # Negated, so that larger is better and rounding matches that of Ray's rewards.
        bisect.insort(earlier, -bits_per_byte)
        return arrival


def _quantile(ascending: Sequence[float], share: float) -> float:
    """The quantile by linear interpolation, bit for bit as numpy's (Hyndman and Fan's type 7)."""
    # Ray passes a percentile, which numpy divides by 100 again: the round trip may round.
    at = (len(ascending) - 1) * (share * 100 / 100)
    left = math.floor(at)
    low, high = ascending[left], ascending[min(left + 1, len(ascending) - 1)]
    weight = at - left
    if weight < 0.5:
        return low + (high - low) * weight
    return high - (high - low) * (1 - weight)
