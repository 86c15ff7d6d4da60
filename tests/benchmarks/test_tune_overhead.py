"""The figures that the benchmark of Tune draws from times of arrival."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from benchmarks.tune_overhead import Arrival, Run, next_starts, throughput


def arrival(at: float, tokens: int, *, train: float, evaluate: float) -> Arrival:
    seconds = {"start": 0.5, "data": 0.25, "compile": 0.0, "train": train, "evaluate": evaluate}
    return Arrival(at=at, tokens=tokens, seconds=seconds)


FIRST = [
    arrival(10.0, 100, train=1.0, evaluate=1.0),
    arrival(20.0, 900, train=6.0, evaluate=3.0),
]
SECOND = [
    arrival(25.0, 100, train=1.0, evaluate=1.0),
    arrival(35.0, 900, train=6.0, evaluate=3.0),
]
RUN = Run(asked=0.0, imported=2.0, trials={"first": FIRST, "second": SECOND})


def test_throughput_takes_wall_time_with_and_without_evaluation() -> None:
    assert throughput(FIRST, evaluation=True) == pytest.approx(80.0)
    assert throughput(FIRST, evaluation=False) == pytest.approx(100.0)


def test_the_first_step_is_found_back_from_the_first_observation() -> None:
    assert FIRST[0].first_step == pytest.approx(8.0)


def test_a_next_trial_starts_where_the_one_before_was_last_heard_of() -> None:
    assert next_starts(RUN) == pytest.approx([3.0])


def test_a_run_survives_its_way_between_processes() -> None:
    assert Run.from_json(json.dumps(asdict(RUN))) == RUN
