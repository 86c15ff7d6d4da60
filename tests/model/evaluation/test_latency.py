"""Latency is timed after a warm-up, reading and continuing apart."""

from __future__ import annotations

import itertools

import pytest

from model.evaluation.latency import WARM_UP, Times, measure_latency
from tests.tune_app.untrained import untrained


def test_only_runs_after_the_warm_up_count() -> None:
    model = untrained().model
    # The clock is read twice a run: the first runs take a second, later ones a tenth.
    steps = itertools.chain([0, 1] * WARM_UP, itertools.cycle([0, 0.1]))
    now = itertools.accumulate(steps)
    found = measure_latency(model, 8, runs=5, clock=lambda: next(now))
    assert (found.length, found.runs) == (8, 5)
    assert found.prefill.median == found.prefill.p99 == pytest.approx(0.1)
    assert measure_latency(model, 31, runs=1).decode.median > 0
    for length, runs, message in ((32, 1, "do not fit into the context of 32"), (8, 0, "runs is")):
        with pytest.raises(ValueError, match=message):
            measure_latency(model, length, runs=runs)


def test_quantiles_are_of_the_runs() -> None:
    found = Times.of([float(number) for number in range(101)])
    assert (found.median, found.p95, found.p99) == (50, 95, 99)
