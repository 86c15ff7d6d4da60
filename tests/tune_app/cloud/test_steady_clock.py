"""The clock that dollars are counted by: steady, and set by the market's, not by the head's."""

from __future__ import annotations

import pytest

from tests.tune_app.cloud.clock import Clock
from tune_app.cloud.steady_clock import SteadyClock


@pytest.fixture
def true() -> Clock:
    return Clock(1_000_000.0)


def clock_of(true: Clock, ahead: float) -> SteadyClock:
    """Of a head whose clock is ahead by so many seconds, booted at 900,000."""
    return SteadyClock(wall=lambda: true.now + ahead, steady=lambda: true.now - 900_000.0)


@pytest.mark.parametrize("ahead", [0.0, 30.0, 86_400.0, -86_400.0])
def test_two_answers_set_it_and_a_jump_of_the_head_s_clock_does_not(
    true: Clock, ahead: float
) -> None:
    steady = clock_of(true, ahead)
    for _ in range(2):
        steady.heard(true.now)
        true.now += 1
    assert steady() == pytest.approx(true.now, abs=60)
    true.now += 3_600
    assert steady() == pytest.approx(true.now, abs=60)


def test_one_odd_answer_changes_nothing(true: Clock) -> None:
    steady = clock_of(true, 0.0)
    steady.heard(true.now + 1e9)
    steady.heard(true.now - 1e9)
    steady.heard(true.now)
    steady.heard(true.now + 1e9)
    assert steady() == pytest.approx(true.now, abs=1)


def test_once_confirmed_it_never_goes_back(true: Clock) -> None:
    steady = clock_of(true, 0.0)
    for offset in (0.0, -7_200.0, -7_200.0, 0.0, 600.0, 600.0):
        before = steady()
        steady.heard(true.now + offset)
        assert steady() >= before
    assert steady() == pytest.approx(true.now + 600)
