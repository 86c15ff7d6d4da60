"""The seeds' noise from scores whose variance is known, and what it leaves of a difference."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from tune_app.statistics.intervals import deviation_interval, student_quantile
from tune_app.statistics.noise import ENOUGH, Noise, margin, pooled, together


def _noise(sigma: float, degrees_of_freedom: int = 16) -> Noise:
    runs = degrees_of_freedom + 4
    return Noise(
        sigma=sigma, degrees_of_freedom=degrees_of_freedom, runs=runs, source=f"{runs} runs"
    )


def test_one_group_has_its_own_deviation_to_the_last_digit() -> None:
    scores = [2.2051, 2.2116, 2.2247]
    found = pooled([scores], of="this sweep")
    assert found is not None and found.sigma == statistics.stdev(scores)
    assert (found.degrees_of_freedom, found.runs, found.source) == (2, 3, "3 runs of this sweep")


def test_groups_are_pooled_by_their_degrees_of_freedom() -> None:
    # Deviations 1 (two degrees of freedom) and 2√2 (one), about other means.
    found = pooled([[9.0, 10.0, 11.0], [100.0, 104.0]], of="it")
    assert found is not None and (found.degrees_of_freedom, found.runs) == (3, 5)
    assert found.sigma == pytest.approx(math.sqrt((2 * 1 + 1 * 8) / 3))


@pytest.mark.parametrize(
    "groups",
    [
        [],
        [[]],
        [[2.0], [2.1], [2.2]],
        [[2.0, math.nan], [math.inf, 2.1, -math.inf]],
    ],
)
def test_without_two_seeds_of_a_design_it_is_unknown(groups: list[list[float]]) -> None:
    assert pooled(groups, of="it") is None


def test_scores_that_are_no_numbers_count_nowhere() -> None:
    found = pooled([[2.0, 2.2, math.nan], [math.inf, 1.0]], of="it")
    assert found is not None and (found.degrees_of_freedom, found.runs) == (1, 2)
    assert found.sigma == statistics.stdev([2.0, 2.2])


def test_the_interval_holds_the_true_deviation_as_often_as_it_says() -> None:
    chance, held, times = random.Random(0), 0, 400
    for _ in range(times):
        groups = [[chance.gauss(mean, 0.017) for _ in range(3)] for mean in range(6)]
        found = pooled(groups, of="it")
        assert found is not None
        low, high = found.interval
        held += low <= 0.017 <= high
    assert 0.92 < held / times < 0.98


def test_the_interval_is_that_of_chi_square() -> None:
    assert deviation_interval(1.0, 2) == pytest.approx((0.5207, 6.2847), abs=1e-4)
    assert deviation_interval(1.0, 12) == pytest.approx((0.7171, 1.6507), abs=1e-4)
    assert deviation_interval(0.0, 3) == (0.0, 0.0)


def test_student_s_quantile_is_two_for_many_and_far_more_for_few() -> None:
    assert student_quantile(10**6) == pytest.approx(2, abs=1e-4)
    assert student_quantile(1) == pytest.approx(13.968, abs=1e-3)


def test_two_estimates_count_by_their_degrees_of_freedom() -> None:
    both = together(_noise(0.01, 3), _noise(0.02, 9))
    assert both.sigma == pytest.approx(math.sqrt((3 * 0.01**2 + 9 * 0.02**2) / 12))
    assert (both.degrees_of_freedom, both.runs, both.source) == (12, 20, "7 runs and 13 runs")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sigma": math.nan}, "sigma is nan"),
        ({"sigma": -0.1}, "sigma is -0.1"),
        ({"degrees_of_freedom": 0}, "degrees_of_freedom is 0; it must be at least 1"),
        ({"runs": 16}, "runs is 16; it must be more than degrees_of_freedom, 16"),
    ],
)
def test_an_impossible_deviation_is_refused(values: dict[str, float], message: str) -> None:
    whole = {"sigma": 0.1, "degrees_of_freedom": 16, "runs": 20, "source": "", **values}
    with pytest.raises(ValueError, match=message):
        Noise(**whole)  # type: ignore[arg-type]


def test_single_seeds_are_told_apart_beyond_two_sigma() -> None:
    noise = _noise(0.01)
    near, far = (margin(by, seeds=1, other_seeds=1, noise=noise) for by in (0.0199, 0.0201))
    assert (near.unit, near.told_apart, far.told_apart) == (0.01, False, True)
    assert near.sigmas == pytest.approx(1.99)


def test_means_over_more_seeds_are_told_apart_sooner() -> None:
    noise = _noise(0.01)
    four = margin(0.0101, seeds=4, other_seeds=4, noise=noise)
    assert four.unit == pytest.approx(0.005) and four.told_apart
    uneven = margin(0.0101, seeds=4, other_seeds=1, noise=noise)
    assert uneven.unit == pytest.approx(0.01 * math.sqrt((1 / 4 + 1) / 2)) and not uneven.told_apart


def test_equal_scores_and_better_ones_are_not_told_apart() -> None:
    for noise in (_noise(0.01), _noise(0.0)):
        tie = margin(0.0, seeds=1, other_seeds=1, noise=noise)
        assert (tie.sigmas, tie.told_apart) == (0.0, False)
        ahead = margin(-0.5, seeds=1, other_seeds=1, noise=noise)
        assert ahead.sigmas < 0 and not ahead.told_apart


def test_a_deviation_from_few_seeds_asks_for_more_of_it() -> None:
    assert _noise(0.01, ENOUGH).limit == 2
    one = _noise(0.01, 1)
    assert not margin(0.1, seeds=1, other_seeds=1, noise=one).told_apart
    assert margin(0.15, seeds=1, other_seeds=1, noise=one).told_apart
