"""ASHA's rungs: who reached which number of tokens with what, and who may go on.

The variant that stops a trial instead of pausing it, as Ray Tune has it
(`AsyncHyperBandScheduler` with `stop_last_trials=False`): a trial is held against those that
reached the rung before it, so the first one always goes on. Source: Li et al., 2020, "A System for
Massively Parallel Hyperparameter Tuning".
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
    """Bits per byte that had to be reached; None for the first arrival."""
    earlier: int
    """Cells that reached the rung before."""


class Rungs:
    """The memory of arrivals.

    Args:
        milestones: tokens of the rungs, ascending.
        reduction_factor: η: one of η cells passes a rung.
    """

    def __init__(self, milestones: Sequence[int], *, reduction_factor: int) -> None:
        self._kept = 1 / reduction_factor
        self._recorded: dict[int, dict[str, float]] = {milestone: {} for milestone in milestones}
        self._sorted: dict[int, list[float]] = {milestone: [] for milestone in milestones}

    @property
    def recorded(self) -> Mapping[int, Mapping[str, float]]:
        """Bits per byte by cell, by rung, in the order of arrival."""
        return self._recorded

    def arrive(self, cell: str, tokens: int, bits_per_byte: float) -> Arrival | None:
        """Notes an arrival at the highest rung that the tokens reach.

        A rung that was jumped over stays empty: a late value in it would be better than the others
        are there, and stop them wrongly. None where no new rung was reached.

        bits_per_byte: finite.
        """
        reached = [milestone for milestone in self._recorded if milestone <= tokens]
        if not reached or cell in self._recorded[reached[-1]]:
            return None
        milestone = reached[-1]
        earlier = self._sorted[milestone]
        cutoff = -_quantile(earlier, 1 - self._kept) if earlier else None
        arrival = Arrival(
            stop=cutoff is not None and bits_per_byte > cutoff,
            milestone=milestone,
            cutoff=cutoff,
            earlier=len(earlier),
        )
        self._recorded[milestone][cell] = bits_per_byte
        # With the sign turned, the larger the better: rounding is then that of Ray's rewards.
        bisect.insort(earlier, -bits_per_byte)
        return arrival


def _quantile(ascending: Sequence[float], share: float) -> float:
    """The quantile by linear interpolation, bit for bit as numpy's (Hyndman and Fan's type 7)."""
    # Ray asks for a percentile, and numpy turns it back into a share: this may round.
    at = (len(ascending) - 1) * (share * 100 / 100)
    left = math.floor(at)
    low, high = ascending[left], ascending[min(left + 1, len(ascending) - 1)]
    weight = at - left
    if weight < 0.5:
        return low + (high - low) * weight
    return high - (high - low) * (1 - weight)
