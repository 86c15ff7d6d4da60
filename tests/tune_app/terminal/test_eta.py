"""Time left, worked out by hand for sweeps small enough to do so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tune_app.observations import observation
from tune_app.terminal.eta import (
    Pace,
    Running,
    cell_seconds_left,
    expected_end,
    measured_pace,
    pooled,
    sweep_seconds_left,
)

# Ten seconds to begin, then 100 tokens a second: a cell of 1,000 tokens takes twenty.
PACE = Pace(fixed=10.0, per_token=0.01, tokens=1_000)
TOKENS = 1_000
SHARES = st.floats(0, 1)


def test_pace_splits_what_comes_once_from_what_comes_with_tokens() -> None:
    last = observation(
        "a",
        200,
        baseline_tokens=400,
        seconds={"start": 2.0, "data": 1.0, "compile": 4.0, "train": 6.0, "evaluate": 2.0},
    )
    assert measured_pace(last) == Pace(fixed=7.0, per_token=8.0 / 400, tokens=400)


def test_pooled_pace_weighs_time_per_token_by_tokens() -> None:
    slow = Pace(fixed=4.0, per_token=0.5, tokens=100)
    fast = Pace(fixed=2.0, per_token=0.25, tokens=300)
    assert pooled([slow, fast]) == Pace(fixed=3.0, per_token=125 / 400, tokens=400)
    assert pooled([]) is None


def test_a_cell_is_expected_to_end_where_those_ended_that_came_further() -> None:
    assert expected_end(0.0, []) == 1.0
    # Three ended, and one is imagined to run to its end.
    assert expected_end(0.0, [0.25, 0.25, 0.5]) == pytest.approx((0.25 + 0.25 + 0.5 + 1) / 4)
    assert expected_end(0.25, [0.25, 0.25, 0.5]) == pytest.approx((0.5 + 1) / 2)
    assert expected_end(0.5, [0.25, 0.25, 0.5]) == 1.0


@given(share=SHARES, ended=st.lists(SHARES))
def test_the_expected_end_lies_ahead(share: float, ended: list[float]) -> None:
    assert share <= expected_end(share, ended) <= 1.0


def test_nothing_is_said_before_anything_was_measured() -> None:
    running = [Running(share=0.0, since=5.0, pace=None)]
    assert _left(running=running, waiting=[0.0], pace=None) is None


def test_nothing_is_left_when_all_is_over() -> None:
    assert _left(pace=PACE) == 0.0
    assert _left(pace=None) == 0.0


def test_waiting_cells_share_the_slots() -> None:
    assert _left(waiting=[0.0] * 4, slots=1) == pytest.approx(80.0)
    assert _left(waiting=[0.0] * 4, slots=2) == pytest.approx(40.0)
    # The third cell has a slot for itself while the other slot is idle.
    assert _left(waiting=[0.0] * 3, slots=2) == pytest.approx(40.0)
    assert _left(waiting=[0.0] * 3, slots=8) == pytest.approx(20.0)


def test_a_waiting_cell_takes_the_slot_that_becomes_free_first() -> None:
    running = [
        Running(share=0.9, since=0.0, pace=PACE),  # one second left
        Running(share=0.2, since=0.0, pace=PACE),  # eight
    ]
    assert _left(running=running, waiting=[0.0], slots=2) == pytest.approx(21.0)


def test_stops_shorten_what_is_expected_of_waiting_cells() -> None:
    # Half of the tokens on average, with the imagined cell: (0.25 + 0.25 + 1) / 3.
    assert _left(waiting=[0.0], ended=[0.25, 0.25]) == pytest.approx(10 + 0.5 * TOKENS * 0.01)


def test_a_continued_cell_pays_its_start_again_but_not_its_tokens() -> None:
    assert _left(waiting=[0.6]) == pytest.approx(10 + 4)


def test_time_left_runs_down_between_two_reports_and_stays_at_nought() -> None:
    def left(since: float) -> float:
        cell = Running(share=0.5, since=since, pace=PACE)
        return cell_seconds_left(cell, tokens=TOKENS, pace=None)

    assert [left(0.0), left(2.0), left(60.0)] == [pytest.approx(5.0), pytest.approx(3.0), 0.0]


def test_a_cell_that_has_not_trained_yet_has_its_start_ahead() -> None:
    cell = Running(share=0.0, since=4.0, pace=None)
    assert cell_seconds_left(cell, tokens=TOKENS, pace=PACE) == pytest.approx(16.0)


@given(
    running=st.lists(SHARES, max_size=4),
    waiting=st.lists(SHARES, max_size=12),
    ended=st.lists(SHARES, max_size=12),
)
def test_more_slots_never_take_longer(
    running: list[float], waiting: list[float], ended: list[float]
) -> None:
    cells = [Running(share=share, since=0.0, pace=PACE) for share in running]
    times = [
        _left(running=cells, waiting=waiting, ended=ended, slots=slots) for slots in (4, 5, 16)
    ]
    assert all(time is not None and time >= 0 for time in times)
    assert times[2] == min(time for time in times if time is not None)


def _left(
    *,
    running: list[Running] | None = None,
    waiting: list[float] | None = None,
    ended: list[float] | None = None,
    slots: int = 1,
    pace: Pace | None = PACE,
) -> float | None:
    return sweep_seconds_left(
        tokens=TOKENS,
        slots=slots,
        running=running or [],
        waiting=waiting or [],
        ended=ended or [],
        pace=pace,
    )
