"""The curves of a sweep's cells so far, and the baseline of each cell."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tune_app.journal.records import CellRecord, Observation, Status


def without_seed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A cell's values without its seed: equal for all seeds of one configuration."""
    return {name: value for name, value in values.items() if name != "seed"}


def is_same_but_seed(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two cells' values differ in nothing but the seed."""
    return without_seed(one) == without_seed(other)


def by_cell(observations: Iterable[Observation]) -> dict[str, list[Observation]]:
    """The observations of each cell, in order of tokens."""
    curves: dict[str, list[Observation]] = {}
    for observation in observations:
        curves.setdefault(observation.cell, []).append(observation)
    for curve in curves.values():
        curve.sort(key=lambda point: point.tokens)
    return curves


def interpolate(curve: Sequence[tuple[float, float]], tokens: float) -> float | None:
    """The value at `tokens` of a curve of (tokens, value), sorted by tokens; linear.

    None before the first point, after the last one, and if a neighbour is not finite.
    """
    at = bisect.bisect_left(curve, (tokens, -math.inf))
    if at < len(curve) and curve[at][0] == tokens:
        value = curve[at][1]
    elif 0 < at < len(curve):
        (left, low), (right, high) = curve[at - 1], curve[at]
        value = low + (high - low) * (tokens - left) / (right - left)
    else:
        return None
    return value if math.isfinite(value) else None


def value_at(
    curve: Sequence[Observation], tokens: float, value: Callable[[Observation], float]
) -> float | None:
    """A value of a cell's curve at `tokens` baseline tokens, interpolated linearly.

    None outside the curve, and if a neighbour is not finite.
    """
    at = bisect.bisect_left(curve, tokens, key=lambda point: point.baseline_tokens)
    near = curve[max(0, at - 1) : at + 1]
    return interpolate([(float(point.baseline_tokens), value(point)) for point in near], tokens)


class Curves:
    """The cells of a sweep with their observations so far.

    Args:
        cells: all of the sweep.
        baseline: key of the baseline's cell.
        observations: those so far.
    """

    def __init__(
        self,
        cells: Iterable[CellRecord],
        *,
        baseline: str,
        observations: Iterable[Observation] = (),
    ) -> None:
        self._cells = {cell.key: cell for cell in cells}
        self._baselines = {
            cell.values.get("seed"): cell.key
            for cell in self._cells.values()
            if is_same_but_seed(cell.values, self._cells[baseline].values)
        }
        self._curves = by_cell(observations)

    def add(self, observation: Observation) -> None:
        curve = self._curves.setdefault(observation.cell, [])
        bisect.insort(curve, observation, key=lambda point: point.tokens)

    def of(self, cell: str) -> Sequence[Observation]:
        """The observations of a cell in order of tokens; empty if there are none."""
        return self._curves.get(cell, ())

    def by_cell(self) -> Mapping[str, Sequence[Observation]]:
        """The curves of all cells that have been observed."""
        return self._curves

    @property
    def baselines(self) -> tuple[str, ...]:
        """Keys of the baseline's cells, one a seed; without those that the sweep leaves out.

        A curve that is not continued would hold up whatever waits for all of them.
        """
        return tuple(
            key
            for key in self._baselines.values()
            if self._cells[key].status is not Status.LEFT_OUT
        )

    def is_baseline(self, cell: str) -> bool:
        """Whether it is the baseline, on any seed."""
        return cell in self._baselines.values()

    def baseline_of(self, cell: str) -> str | None:
        """Key of the baseline on the cell's own seed; None if that seed has none.

        The baseline of another seed is no substitute: chance differences would count as worse.
        """
        return self._baselines.get(self._cells[cell].values.get("seed"))
