"""Schedulers over many random orders of the same recorded cells."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tune_app.replay.recorded import Recorded
from tune_app.replay.schedulers import Contestant
from tune_app.replay.workers import Run, simulate

SLOW_ORDERS = 50
"""At most so many for a scheduler whose own code is slow."""
BAND = (10.0, 90.0)
"""Percentiles of orders, as the band around the median."""
_GRID = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What became of one scheduler's sweeps."""

    name: str
    runs: tuple[Run, ...]
    took: float
    """Seconds of this computer."""

    @property
    def orders(self) -> int:
        return len(self.runs)

    @property
    def regret(self) -> float:
        """Mean, in bits per byte."""
        return float(np.mean([run.regret for run in self.runs]))

    @property
    def regret_error(self) -> float:
        """Standard error of the mean regret; 0 for one order."""
        if self.orders < 2:
            return 0.0
        return float(np.std([run.regret for run in self.runs], ddof=1) / np.sqrt(self.orders))

    @property
    def compute(self) -> float:
        """Mean tokens trained, as a share of the grid's."""
        return float(np.mean([run.compute for run in self.runs]))

    @property
    def hours(self) -> float:
        """Mean time until the last worker is done."""
        return float(np.mean([run.seconds for run in self.runs])) / 3600

    @property
    def lost(self) -> float:
        """Share of orders in which the best cell of all was not trained to its end."""
        return float(np.mean([run.lost for run in self.runs]))

    @property
    def false_kills(self) -> float | None:
        """Share of the cells stopped or paused that end better than the one that leads; None if
        none was."""
        kills = sum(run.kills for run in self.runs)
        return sum(run.false_kills for run in self.runs) / kills if kills else None

    def within(self, bits_per_byte: float) -> float:
        """Share of orders whose leader ends at most so much worse than the best cell."""
        return float(np.mean([run.regret <= bits_per_byte for run in self.runs]))

    def anytime(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Shares of the grid's tokens, and the regrets of the leader then: (3, shares), the lower
        end of the band, the median, its upper end. NaN before half of the sweeps have a leader, and
        after the last has ended."""
        regrets = np.full((self.orders, len(_GRID)), np.nan)
        for row, run in enumerate(self.runs):
            compute, values = np.array(run.trace).T
            at = np.searchsorted(compute, _GRID, side="right") - 1
            regrets[row] = np.where(at >= 0, values[np.maximum(at, 0)], np.nan)
        known = np.isfinite(regrets).mean(axis=0) >= 0.5
        known &= max(run.compute for run in self.runs) + 0.01 >= _GRID
        low, high = BAND
        bands = np.full((3, len(_GRID)), np.nan)
        bands[:, known] = np.nanpercentile(regrets[:, known], [low, 50.0, high], axis=0)
        return _GRID, bands


def tally(
    contestant: Contestant, recorded: Recorded, *, orders: int, workers: int, seed: int = 0
) -> Tally:
    """Replays a scheduler over random orders, the same ones for every scheduler.

    Raises ValueError for a setting that it does not have.
    """
    started = time.perf_counter()
    keys = [curve.cell.key for curve in recorded.curves]
    runs = []
    for number in range(min(orders, SLOW_ORDERS) if contestant.slow else orders):
        # Not a tuple: hashes of text differ from one process to the next.
        order = _shuffled(keys, random.Random(f"order {seed} {number}"), first=recorded.baseline)
        chance = random.Random(f"choice {seed} {number}")
        runs.append(simulate(contestant.build(recorded, chance), recorded, order, workers=workers))
    return Tally(name=contestant.name, runs=tuple(runs), took=time.perf_counter() - started)


def _shuffled(keys: Sequence[str], chance: random.Random, *, first: str) -> list[str]:
    """The baseline first, as in a sweep; the others in an order of chance."""
    others = [key for key in keys if key != first]
    chance.shuffle(others)
    return [first, *others]
