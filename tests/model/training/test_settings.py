from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest

from model.training.settings import TrainingConfig, TrainingSettings
from tests.loaded import loaded_by

RUN = TrainingConfig(tokens=1_000, batch_size=8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokens", 0),
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("batch_size", True),
        ("micro_batch_size", 3),
        ("micro_batch_size", 16),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("learning_rate", "fast"),
        ("schedule", "linear"),
        ("warmup_fraction", 1.0),
        ("weight_decay", -0.1),
        ("betas", (0.9, 1.0)),
        ("betas", (0.9,)),
        ("betas", ("a", "b")),
        ("betas", 0.9),
        ("gradient_clip", 0.0),
        ("seed", -1),
        ("precision", "fp4"),
        ("compile", "yes"),
        ("deterministic", 1),
    ],
)
def test_impossible_settings_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} is .*; it must be"):
        replace(RUN, **{name: value})


def test_equal_settings_make_equal_objects_whatever_they_were_read_from() -> None:
    read = TrainingSettings(betas=[0, 0.5], weight_decay=1)  # type: ignore[arg-type]
    assert read == TrainingSettings(betas=(0.0, 0.5), weight_decay=1.0)
    assert [type(beta) for beta in read.betas] == [float, float]


def test_a_run_takes_the_settings_of_a_class_that_knows_more() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Wider(TrainingSettings):
        corpus: str = "stdlib"

    run = TrainingConfig.of_run(Wider(learning_rate=0.5), tokens=7, seed=3, micro_batch_size=4)
    assert run == TrainingConfig(learning_rate=0.5, tokens=7, seed=3, micro_batch_size=4)


def test_the_settings_are_known_without_torch() -> None:
    assert loaded_by("import model.training.settings", "torch") == []
