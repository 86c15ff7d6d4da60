"""Schedules are functions of their seed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.chaos.faults import FAULTS, durations
from tests.chaos.options import (
    SECONDS_PER_FAULT,
    SHARE_TRAINING,
    TOKENS_PER_SECOND,
    ChaosOptions,
)
from tests.chaos.schedule import LONGEST_DELAY, make_moments, make_schedule


def test_a_seed_gives_one_schedule() -> None:
    kinds = durations(short=False)
    assert make_schedule(kinds, count=30, seed=5) == make_schedule(kinds, count=30, seed=5)
    assert make_schedule(kinds, count=30, seed=5) != make_schedule(kinds, count=30, seed=6)


def test_every_kind_comes_about_as_often_as_the_others() -> None:
    counts = Counter(plan.kind for plan in make_schedule(durations(short=True), count=24, seed=1))
    assert set(counts) == set(FAULTS)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_fault_lasts_as_long_as_its_kind_may() -> None:
    kinds = durations(short=False)
    schedule = make_schedule(kinds, count=200, seed=2)
    for plan in schedule:
        shortest, longest = kinds[plan.kind]
        assert shortest <= plan.seconds <= longest
        assert 0 <= plan.delay <= LONGEST_DELAY
    assert [plan.number for plan in schedule] == list(range(1, 201))
    paused = [plan.seconds for plan in schedule if plan.kind == "node paused"]
    assert min(paused) >= 10
    assert max(paused) <= 60


def test_a_victim_is_one_of_those_that_there_are() -> None:
    picks = {plan.pick(3) for plan in make_schedule(durations(short=True), count=100, seed=3)}
    assert picks == {0, 1, 2}


def test_no_faults_are_no_schedule() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        make_schedule(durations(short=True), count=0, seed=0)


def test_moments_are_spread_over_the_start_too() -> None:
    moments = make_moments(count=200, seed=0, longest=20.0)
    assert moments == make_moments(count=200, seed=0, longest=20.0)
    assert min(moments) < 2
    assert max(moments) > 18


def test_a_sweep_has_more_cells_the_more_faults_it_has_to_outlast() -> None:
    assert ChaosOptions(faults=1).size.cells == 10, "never fewer than eight"
    hundred = ChaosOptions(faults=100)
    seconds = hundred.size.cells * hundred.tokens / TOKENS_PER_SECOND / hundred.nodes
    assert seconds >= 100 * SECONDS_PER_FAULT * SHARE_TRAINING
    assert ChaosOptions(faults=100, seeds=2).size.cells == 10


@pytest.mark.parametrize("values", [{"nodes": 1}, {"interval": 0.0}])
def test_impossible_runs_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="it must be"):
        ChaosOptions(**values)
