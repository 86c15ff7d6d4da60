"""Main effects: what each value of an axis is worth in the mean over the other axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tune_app.statistics.intervals import student_quantile
from tune_app.statistics.noise import Noise

NO_INTERVAL = (
    "no interval: no more designs finished than the axes have values to fit, and nothing was "
    "trained on a second seed, so nothing says how far chance goes"
)


@dataclass(frozen=True, kw_only=True)
class Level:
    """A value of an axis."""

    value: str
    """As text, equal for values that mean the same."""
    behind: float
    """How much worse than the best value of its axis, in the mean over the others."""
    interval: tuple[float, float] | None
    """Of `behind`; None for the best one, and where nothing says how far chance goes."""
    designs: int
    """That have it and finished."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """An axis with its values, the best first."""

    axis: str
    levels: tuple[Level, ...]

    @property
    def best(self) -> Level:
        return self.levels[0]

    @property
    def unknown(self) -> bool:
        """Whether nothing says how far chance goes: see NO_INTERVAL."""
        return len(self.levels) > 1 and self.levels[1].interval is None

    @property
    def told_apart(self) -> bool:
        """Whether the best value is better than the next by more than chance."""
        if len(self.levels) < 2 or self.levels[1].interval is None:
            return False
        return self.levels[1].interval[0] > 0


def main_effects(
    rows: Sequence[Mapping[str, str]],
    scores: Sequence[float],
    *,
    noise: Noise | None = None,
    seeds: Sequence[int] | None = None,
    level: float = 0.95,
) -> tuple[Effect, ...]:
    """The main effects by least squares, which also serves a grid from which some are missing.

    The deviation of an interval is the larger of the fit's residual, which holds what the axes do
    together, and the seeds' noise.

    Args:
        rows: for each finished design its value on each axis, as text.
        scores: its mean bits per byte.
        noise: of a single run; None if it is unknown.
        seeds: number of runs behind each score, 1 each by default.

    Axes on which all rows agree are left out. Two axes that cannot be told apart in these rows, as
    where both change together, share the blame by the smallest solution.
    """
    import numpy as np  # noqa: PLC0415

    axes = [axis for axis in (rows[0] if rows else {}) if len({row[axis] for row in rows}) > 1]
    if not axes:
        return ()
    columns: list[tuple[str, str]] = []
    for axis in axes:
        columns += [(axis, value) for value in list(dict.fromkeys(row[axis] for row in rows))[1:]]
    table = np.array(
        [[1.0, *(float(row[axis] == value) for axis, value in columns)] for row in rows]
    )
    target = np.array(scores, dtype=float)
    solution, _, rank, _ = np.linalg.lstsq(table, target, rcond=None)
    inverse = np.linalg.pinv(table.T @ table)
    residual = float(((target - table @ solution) ** 2).sum())
    deviation, freedom = _deviation(residual, len(rows) - int(rank), noise, seeds or [1])
    return tuple(
        _effect(
            axis,
            rows,
            columns=columns,
            solution=solution,
            inverse=inverse,
            deviation=deviation,
            freedom=freedom,
            level=level,
        )
        for axis in axes
    )


def _deviation(
    residual: float, freedom: int, noise: Noise | None, seeds: Sequence[int]
) -> tuple[float, int]:
    """Of one row's score, with its degrees of freedom; infinite if nothing tells."""
    found: list[tuple[float, int]] = []
    if freedom > 0:
        found.append((math.sqrt(residual / freedom), freedom))
    if noise is not None:
        found.append((noise.sigma / math.sqrt(min(seeds)), noise.degrees_of_freedom))
    return max(found, default=(math.inf, 1))


def _effect(
    axis: str,
    rows: Sequence[Mapping[str, str]],
    *,
    columns: Sequence[tuple[str, str]],
    solution: Any,
    inverse: Any,
    deviation: float,
    freedom: int,
    level: float,
) -> Effect:
    import numpy as np  # noqa: PLC0415

    def contrast(value: str) -> Any:
        return np.array([0.0, *(float(column == (axis, value)) for column in columns)])

    values = list(dict.fromkeys(row[axis] for row in rows))
    worth = {value: float(np.dot(contrast(value), solution)) for value in values}
    order = sorted(values, key=lambda value: worth[value])
    best = order[0]
    levels = []
    for value in order:
        step = contrast(value) - contrast(best)
        half = student_quantile(freedom, 0.5 + level / 2) * deviation
        half *= math.sqrt(max(0.0, float(step @ inverse @ step)))
        behind = worth[value] - worth[best]
        unknown = value == best or not math.isfinite(deviation)
        levels.append(
            Level(
                value=value,
                behind=behind,
                interval=None if unknown else (behind - half, behind + half),
                designs=sum(row[axis] == value for row in rows),
            )
        )
    return Effect(axis=axis, levels=tuple(levels))
