"""Throughput says how much memory scoring takes, whatever this process has done before."""

from __future__ import annotations

import sys

import pytest

from model.evaluation.throughput import measure_throughput
from model.freed_memory import keep_freed_memory
from tests.tune_app.untrained import untrained

BATCH = 256


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_memory_that_was_freed_before_counts_again() -> None:
    keep_freed_memory()
    model = untrained().model
    first, again = (measure_throughput(model, batch_size=BATCH, runs=1) for _ in range(2))
    assert first.peak_memory is not None and again.peak_memory is not None
    assert again.peak_memory > first.peak_memory / 2


def test_what_cannot_be_measured_is_refused() -> None:
    model = untrained().model
    for size, runs, message in ((0, 1, "batch_size is 0"), (1, 0, "runs is 0")):
        with pytest.raises(ValueError, match=message):
            measure_throughput(model, batch_size=size, runs=runs)
