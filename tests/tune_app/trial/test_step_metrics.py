"""What steps report becomes one value a metric, the same for a trial that was interrupted."""

from __future__ import annotations

import math

import pytest

from tune_app.journal.metrics import UndeclaredMetricError
from tune_app.trial.step_metrics import StepMetrics

STEPS = [
    {"train_loss": 5.1, "gradient_norm": 0.3, "learning_rate": 0.1},
    {"train_loss": 4.7, "learning_rate": 0.2},
    {"train_loss": 4.3, "gradient_norm": 0.1, "learning_rate": 0.05},
]


def test_each_metric_is_gathered_as_declared_over_the_steps_that_report_it() -> None:
    steps = StepMetrics()
    for step in STEPS:
        steps.add(step)
    assert steps.taken() == {
        "train_loss": (5.1 + 4.7 + 4.3) / 3,
        "gradient_norm": 0.2,
        "learning_rate": 0.05,
    }


@pytest.mark.parametrize("interrupted_after", range(4))
def test_an_interruption_changes_no_bit(interrupted_after: int) -> None:
    undisturbed, first = StepMetrics(), StepMetrics()
    for step in STEPS:
        undisturbed.add(step)
    for step in STEPS[:interrupted_after]:
        first.add(step)
    second = StepMetrics(first.state())
    for step in STEPS[interrupted_after:]:
        second.add(step)
    assert second.taken() == undisturbed.taken()


def test_each_evaluation_starts_anew() -> None:
    steps = StepMetrics()
    steps.add(STEPS[0])
    steps.taken()
    steps.add(STEPS[1])
    assert steps.taken() == STEPS[1]
    assert math.isnan(steps.taken()["train_loss"])


def test_a_step_cannot_report_what_is_not_declared() -> None:
    with pytest.raises(UndeclaredMetricError, match="'gradient_nrom'"):
        StepMetrics().add({"gradient_nrom": 1.0})


@pytest.mark.parametrize("name", ["perplexity", "tokens_per_second"])
def test_a_step_cannot_replace_what_is_measured_elsewhere(name: str) -> None:
    with pytest.raises(ValueError, match=f"a step reports '{name}'"):
        StepMetrics().add({name: 1.0})
