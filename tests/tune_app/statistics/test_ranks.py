from __future__ import annotations

import math

import pytest

from tune_app.statistics.ranks import average_ranks, rank_correlation


def test_orders_agree_or_not_whatever_the_distances() -> None:
    assert rank_correlation([1, 2, 3, 4], [1, 10, 100, 1e9]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [-1, -10, -100, -1e9]) == pytest.approx(-1)
    assert rank_correlation([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(1 - 6 * 4 / 120)


def test_equal_numbers_share_their_ranks() -> None:
    assert average_ranks([3, 1, 3, 2]) == [3.5, 1, 3.5, 2]
    # Pearson's correlation of (1.5, 1.5, 3.5, 3.5) and (1, 2, 3, 4).
    assert rank_correlation([1, 1, 2, 2], [1, 2, 3, 4]) == pytest.approx(4 / math.sqrt(4 * 5))


@pytest.mark.parametrize(("one", "other"), [([], []), ([1], [2]), ([1, 1], [1, 2])])
def test_without_an_order_there_is_no_correlation(one: list[float], other: list[float]) -> None:
    assert math.isnan(rank_correlation(one, other))
