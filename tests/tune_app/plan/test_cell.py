"""Cells: plain values in, plain values out, one key for one meaning."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest

from model.training.settings import TrainingSettings
from tune_app.plan.cell import Cell


def test_values_round_trip_through_json() -> None:
    cell = Cell.from_values({"embedding_ratio": 0.45, "glu_expansion": 4.0, "seed": 3})
    again = Cell.from_values(json.loads(json.dumps(cell.values())))
    assert again == cell
    assert again.key == cell.key


def test_the_key_is_the_same_in_another_process() -> None:
    values = {"embedding_ratio": 0.45, "tokens": 150_000}
    program = (
        "import json, sys; from tune_app.plan.cell import Cell;"
        "print(Cell.from_values(json.loads(sys.argv[1])).key)"
    )
    other = subprocess.run(
        [sys.executable, "-c", program, json.dumps(values)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == Cell.from_values(values).key


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"learning_rate": 1e-3}, {"corpus": "wikitext-2"}, {"baseline": {"n_heads": 2}}],
)
def test_whatever_changes_the_result_changes_the_key(change: dict[str, Any]) -> None:
    assert Cell.from_values(change).key != Cell.from_values({}).key


def test_a_whole_number_may_be_written_as_a_float_and_makes_the_same_cell() -> None:
    written = Cell.from_values({"tokens": 5e4, "n_layers": 4.0, "baseline": {"n_heads": 2.0}})
    assert written == Cell.from_values(
        {"tokens": 50_000, "n_layers": 4, "baseline": {"n_heads": 2}}
    )
    assert type(written.settings.tokens) is int


def test_counts_and_free_sizes_may_be_text() -> None:
    written = {"tokens": "20k", "vocab_size": "4K", "d_model": "free", "embedding_ratio": 0.3}
    plain = {"tokens": 20_000, "vocab_size": 4_000, "d_model": None, "embedding_ratio": 0.3}
    assert Cell.from_values(written) == Cell.from_values(plain)
    assert Cell.from_values(written).key == Cell.from_values(plain).key


def test_defaults_left_out_or_given_make_the_same_cell() -> None:
    assert Cell.from_values({}).key == Cell.from_values({"embedding_ratio": 0.35, "seed": 0}).key


def test_the_baseline_shares_what_it_does_not_define() -> None:
    cell = Cell.from_values({"vocab_size": 4_096, "embedding_ratio": 0.25, "feed_forward": "reglu"})
    assert cell.baseline.vocab_size == 4_096
    assert cell.baseline.embedding_ratio == 0.35
    assert cell.baseline.feed_forward == "swiglu"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"embeding_ratio": 0.3},
            "unknown setting 'embeding_ratio'; did you mean embedding_ratio. expected",
        ),
        ({"embedding_ratio": 35}, "embedding_ratio is 35"),
        ({"tokens": 0}, "tokens is 0"),
        ({"tokens": 1.5}, "tokens is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": True}, "seed is True"),
        ({"baseline": 3}, "baseline is 3"),
        ({"embedding_ratio": "much"}, "embedding_ratio"),
        ({"batch_size": "8"}, "batch_size is '8'"),
        ({"tokens": "1.2345k"}, "tokens is '1.2345k'"),
        ({"learning_rate": "4k"}, "learning_rate is '4k'"),
        ({"wdith": 1}, "'wdith'; expected one of (?!.*baseline)"),
        ({"output_head": "tied"}, "unknown setting 'output_head'; it is now called 'embedding'"),
        (
            {"baseline": {"heads": 2}},
            "baseline: unknown setting 'heads'; it is now called 'n_heads'",
        ),
    ],
)
def test_impossible_values_are_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cell.from_values(values)


def test_every_training_setting_is_a_value_of_a_cell() -> None:
    cell = Cell.from_values({"betas": [0.9, 0.99], "tokens": 1_000, "seed": 3})
    training = cell.training_config(micro_batch_size=4)
    assert training.betas == (0.9, 0.99)
    assert (training.tokens, training.seed, training.micro_batch_size) == (1_000, 3, 4)
    assert {field.name for field in fields(TrainingSettings)} < set(cell.values())
    assert cell.key != Cell.from_values({"tokens": 1_000, "seed": 3}).key


def test_a_warm_up_may_be_said_in_tokens() -> None:
    values = {"tokens": 200_000, "warmup_fraction": 0.2}
    cell = Cell.from_values({**values, "warmup_tokens": "10k"})
    assert cell.training_config().warmup_fraction == 0.05
    # Of the tokens of another tokenizer it is the same share: the same text.
    assert cell.training_config(tokens=150_000).warmup_fraction == 0.05
    assert cell.key != Cell.from_values(values).key
    assert Cell.from_values({**values, "warmup_tokens": 0}).key == Cell.from_values(values).key


@pytest.mark.parametrize("tokens", [-1, 200_000, 300_000])
def test_a_warm_up_ends_before_the_training(tokens: int) -> None:
    with pytest.raises(ValueError, match=r"warmup_tokens is .* fewer than the 200,000 tokens"):
        Cell.from_values({"tokens": 200_000, "warmup_tokens": tokens})
