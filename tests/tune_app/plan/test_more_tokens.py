"""Which trainings are the same as longer ones, up to where, and why others are not."""

from __future__ import annotations

import re
from typing import Any

import pytest

from model.training.settings import TrainingConfig
from tune_app.plan.cell import Cell
from tune_app.plan.more_tokens import (
    full_rate_until,
    same_until,
    why_length_matters,
    why_not_continued,
)

CONTEXT = 256
STEP = 4 * CONTEXT


def config(tokens: int = 10_240, **changed: Any) -> TrainingConfig:
    values = {"schedule": "wsd", "warmup_fraction": 0.0, "batch_size": 4, **changed}
    return TrainingConfig(**values, tokens=tokens)


@pytest.mark.parametrize(
    ("schedule", "warmup", "until"), [("cosine", 0.0, 0), ("wsd", 0.05, 0), ("wsd", 0.0, 8_192)]
)
def test_the_rate_is_the_same_until_a_schedule_feels_its_end(
    schedule: str, warmup: float, until: int
) -> None:
    one = config(schedule=schedule, warmup_fraction=warmup)
    other = config(20_480, schedule=schedule, warmup_fraction=warmup)
    assert same_until(one, other, context=CONTEXT) == until
    assert same_until(one, one, context=CONTEXT) == 10_240


@pytest.mark.parametrize("warmup", [1.0, 700.0, 1_536.0, 3_333.3, 5_000.0])
@pytest.mark.parametrize("tokens", [10_240, 10_239, 9_999, 51_200, 123_457])
@pytest.mark.parametrize("longer", [1.0001, 1.5, 3.0, 7.77])
def test_a_warm_up_in_tokens_is_the_same_to_the_last_bit(
    warmup: float, tokens: int, longer: float
) -> None:
    """Of any lengths, up to the step before the cool-down."""
    one, other = (
        config(whole, warmup_fraction=warmup / whole, warmup_tokens=warmup)
        for whole in (tokens, int(tokens * longer) + 1)
    )
    until = full_rate_until(one, context=CONTEXT)
    assert until is not None
    assert same_until(one, other, context=CONTEXT) >= until
    assert one.rate_factor(until - STEP / 2) == 1.0
    assert one.rate_factor(until + STEP / 2) < 1.0


def test_there_is_no_step_before_a_cool_down_that_the_warm_up_reaches() -> None:
    assert full_rate_until(config(schedule="cosine"), context=CONTEXT) is None
    assert full_rate_until(config(warmup_fraction=0.9), context=CONTEXT) is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, ""),
        ({"warmup_tokens": 0, "warmup_fraction": 0.0}, ""),
        ({"schedule": "cosine"}, "the cosine schedule spans all tokens.*schedule=wsd"),
        ({"warmup_tokens": 0}, "rises over 0.05 of all tokens.*--set warmup_tokens=5000"),
        ({"warmup_tokens": 90_000}, "of 90,000 of 100,000 tokens reaches into the cool-down"),
        ({"feed_forward": "polyglu"}, "feed-forward polyglu changes with the share"),
        ({"curriculum": ((0.1, 64, None),)}, "the steps of its curriculum"),
        (
            {"corpus": "mix:a.txt + b.txt", "mixture": (0.5, 0.5), "mixture_end": (0.2, 0.8)},
            "the shares of its corpora change",
        ),
    ],
)
def test_what_depends_on_the_length_is_said_with_the_remedy(
    changed: dict[str, Any], reason: str
) -> None:
    values = {"tokens": 100_000, "schedule": "wsd", "warmup_tokens": 4_000, **changed}
    cell = Cell.from_values(values)
    found = why_length_matters(cell)
    assert re.search(reason, found) is not None
    if not reason:
        assert found == ""
        assert "use --extend-tokens 200000" in why_not_continued(cell, tokens=200_000)
