"""A random fault of each kind against a real sweep: make chaos-short."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.harness import run_chaos
from tests.chaos.options import ChaosOptions


@pytest.mark.chaos
def test_a_sweep_under_a_fault_of_each_kind_loses_nothing(tmp_path: Path) -> None:
    options = ChaosOptions(faults=7, seed=0, short=True, tokens=200_000, seeds=2)
    report = run_chaos(tmp_path / "work", options)
    assert report.passed, report.as_text()
