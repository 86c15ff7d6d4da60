"""When a checkpoint is worth its cost."""

from __future__ import annotations

import pytest

from tune_app.trial.checkpoint_interval import CheckpointTiming, checkpoint_interval


def test_the_interval_is_that_of_young_and_daly_between_its_limits() -> None:
    assert checkpoint_interval(2.0, 6 * 3600) == pytest.approx(293.9, abs=0.1)
    assert checkpoint_interval(10.0, 3600) == pytest.approx(268.3, abs=0.1)
    assert checkpoint_interval(0.0) == 120, "a free checkpoint is not taken all the time"
    assert checkpoint_interval(60.0, 24 * 3600) == 900, "never longer than a user would wait"


def test_a_setting_overrides_it() -> None:
    assert CheckpointTiming(interval=3).seconds(cost=100) == 3
    assert CheckpointTiming(between_losses=3600).seconds(cost=10) == pytest.approx(268.3, abs=0.1)
    with pytest.raises(ValueError, match="interval is -1 seconds"):
        CheckpointTiming(interval=-1)


def test_a_rung_is_passed_once() -> None:
    timing = CheckpointTiming(rungs=(1_000, 2_000))
    assert timing.passes_rung(900, 1_000)
    assert not timing.passes_rung(1_000, 1_900)
    assert timing.passes_rung(1_900, 4_000)
