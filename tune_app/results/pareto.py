"""The Pareto front of a set of points."""

from __future__ import annotations

import math
from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that are not dominated; both coordinates are minimised.

    A point is dominated if another is no worse in both coordinates and better in one; equal points
    do not dominate each other. Points with NaN or an infinity are never on the front. Sorted by
    first coordinate, then second, then index.
    """
    order = sorted(
        (index for index, point in enumerate(points) if all(map(math.isfinite, point))),
        key=lambda index: (*points[index], index),
    )
    front: list[int] = []
    for index in order:
        cost, loss = points[index]
        if not front or loss < points[front[-1]][1] or points[front[-1]] == (cost, loss):
            front.append(index)
    return front
