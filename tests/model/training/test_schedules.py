from __future__ import annotations

from itertools import pairwise

import pytest

from model.training.schedules import DECAY_FRACTION, SCHEDULES


@pytest.mark.parametrize("name", SCHEDULES)
def test_it_rises_in_a_line_and_ends_at_zero(name: str) -> None:
    schedule = SCHEDULES[name]
    assert schedule(0.0, warmup_fraction=0.1) == 0
    assert schedule(0.05, warmup_fraction=0.1) == pytest.approx(0.5)
    assert schedule(0.1, warmup_fraction=0.1) == 1
    assert schedule(1.0, warmup_fraction=0.1) == pytest.approx(0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_without_warm_up_it_starts_at_its_height(name: str) -> None:
    assert SCHEDULES[name](0.0, warmup_fraction=0.0) == 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_after_warm_up_it_never_rises_and_stays_in_range(name: str) -> None:
    values = [SCHEDULES[name](i / 1000, warmup_fraction=0.05) for i in range(50, 1001)]
    assert all(1 >= a >= b >= 0 for a, b in pairwise(values))


def test_cosine_is_half_way_in_the_middle() -> None:
    assert SCHEDULES["cosine"](0.55, warmup_fraction=0.1) == pytest.approx(0.5)


def test_stable_is_stable_and_decay_is_a_line() -> None:
    schedule = SCHEDULES["wsd"]
    assert schedule(1 - DECAY_FRACTION, warmup_fraction=0.1) == 1
    assert schedule(1 - DECAY_FRACTION / 2, warmup_fraction=0.1) == pytest.approx(0.5)
    # A warm-up longer than the stable part leaves what remains to the decay.
    assert schedule(0.95, warmup_fraction=0.9) == pytest.approx(0.5)
