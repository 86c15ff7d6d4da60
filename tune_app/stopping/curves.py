"""The curves of a sweep's cells so far, and the baseline of each cell."""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from tune_app.journal.records import CellRecord, Observation, Status
from tune_app.plan.identity import canonical
from tune_app.plan.nuisance import nuisance_text


def without_seed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A cell's values without its seed: equal for all seeds of one configuration."""
    return {name: value for name, value in values.items() if name != "seed"}


def design_values(values: Mapping[str, Any], nuisance: Collection[str]) -> dict[str, Any]:
    """A cell's values without its seed and its nuisance values: equal for all of one design."""
    return {name: value for name, value in values.items() if name not in (*nuisance, "seed")}


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
        nuisance: the sweep's nuisance axes.
        observations: those so far.
    """

    def __init__(
        self,
        cells: Iterable[CellRecord],
        *,
        baseline: str,
        nuisance: Collection[str] = (),
        observations: Iterable[Observation] = (),
    ) -> None:
        self._cells = {cell.key: cell for cell in cells}
        self._competing = frozenset(
            cell.key
            for cell in self._cells.values()
            if cell.status not in (Status.INFEASIBLE, Status.LEFT_OUT)
        )
        own = self._cells[baseline].values
        self._nuisance = tuple(nuisance)
        self._own = self._trial(own)
        design = design_values(own, nuisance)
        self._baselines = {
            (self._trial(cell.values), cell.values.get("seed")): cell.key
            for cell in self._cells.values()
            if design_values(cell.values, nuisance) == design
        }
        self._curves = by_cell(observations)

    @property
    def cells(self) -> Mapping[str, CellRecord]:
        """All cells of the sweep by their keys, in its order."""
        return self._cells

    @property
    def competing(self) -> AbstractSet[str]:
        """The cells that the sweep trains, whether they have ended or not; none of those that are
        infeasible or left out."""
        return self._competing

    def add(self, observation: Observation) -> None:
        curve = self._curves.setdefault(observation.cell, [])
        bisect.insort(curve, observation, key=lambda point: point.tokens)

    def of(self, cell: str) -> Sequence[Observation]:
        """The observations of a cell in order of tokens; empty if there are none."""
        return self._curves.get(cell, ())

    def by_cell(self) -> Mapping[str, Sequence[Observation]]:
        """The curves of all cells that have been observed."""
        return self._curves

    def baselines_of(self, cell: str) -> tuple[str, ...]:
        """Keys of the baseline at the cell's nuisance values, one a seed; without those that the
        sweep leaves out.

        A curve that is not continued would hold up whatever waits for all of them.
        """
        own = self._trial(self._cells[cell].values)
        return tuple(
            key
            for (trial, _), key in self._baselines.items()
            if trial == own and self._cells[key].status is not Status.LEFT_OUT
        )

    def is_baseline(self, cell: str) -> bool:
        """Whether it is the baseline, on any seed.

        At other nuisance values than its own the baseline's design is a trial like the others'.
        """
        return any(key == cell for (trial, _), key in self._baselines.items() if trial == self._own)

    def baseline_of(self, cell: str) -> str | None:
        """Key of the baseline on the cell's own seed and at its nuisance values, or None.

        The baseline of another seed is no substitute: chance differences would count as worse. Nor
        is that of another nuisance value: a higher learning rate alone bends a curve, worse until
        the rate falls and better afterwards, so the rate and not the design would be judged.
        """
        values = self._cells[cell].values
        return self._baselines.get((self._trial(values), values.get("seed")))

    def at_nuisance(self, cell: str) -> str:
        """The nuisance values of a cell as a part of a sentence: ` at learning rate factor 2`."""
        text = nuisance_text(self._cells[cell].values, self._nuisance)
        return f" at {text}" if text else ""

    def _trial(self, values: Mapping[str, Any]) -> str:
        """The nuisance values of a cell, as text."""
        return json.dumps([canonical(values.get(axis)) for axis in self._nuisance])
