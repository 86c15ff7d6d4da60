"""The front is what a brute-force look at all pairs says."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tune_app.results.pareto import pareto_front

_COORDINATE = st.integers(0, 6).map(float) | st.sampled_from([math.nan, math.inf, -math.inf])


def _dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[0] and one[1] <= other[1] and one != other


def test_front_of_a_few_points() -> None:
    points = [(3.0, 1.0), (1.0, 3.0), (2.0, 2.0), (2.0, 3.0), (4.0, 1.0)]
    assert pareto_front(points) == [1, 2, 0]


def test_no_points() -> None:
    assert pareto_front([]) == []


def test_equal_points_stay_together() -> None:
    assert pareto_front([(1.0, 1.0), (1.0, 1.0), (1.0, 2.0)]) == [0, 1]


@given(st.lists(st.tuples(_COORDINATE, _COORDINATE), max_size=12))
def test_front_is_every_point_that_none_dominates(points: list[tuple[float, float]]) -> None:
    finite = [i for i, point in enumerate(points) if all(map(math.isfinite, point))]
    expected = [
        i for i in finite if not any(_dominates(points[j], points[i]) for j in finite if j != i)
    ]
    front = pareto_front(points)
    assert sorted(front) == expected
    assert [points[i] for i in front] == sorted(points[i] for i in front)
