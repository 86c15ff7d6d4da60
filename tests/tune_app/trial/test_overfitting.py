"""Overfit mode: what can learn does, and what cannot is told with the numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data.prepare import prepare
from tune_app.command_line import run_command
from tune_app.overfit import MODULE, app
from tune_app.plan.cell import Cell
from tune_app.trial.overfitting import Overfit, overfit

VALUES = {
    **{"target_parameters": 60_000, "vocab_size": 512, "n_heads": 2, "context": 16},
    **{"tokens": 1_536, "batch_size": 4, "evaluations": 3, "evaluation_bytes": 2_048},
    "dropout": 0.5,
}


@pytest.fixture
def command(small_corpus: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A cell that hardly learns, as the command line takes it."""
    monkeypatch.setenv("STELLUX_CACHE", str(cache))
    threads = torch.get_num_threads()
    yield json.dumps({**VALUES, "corpus": str(small_corpus), "learning_rate": 1e-7})
    torch.set_num_threads(threads)


def tried(small_corpus: Path, cache: Path, *, tokens: int, steps: int, **values: Any) -> Overfit:
    cell = Cell.from_values({**VALUES, "corpus": str(small_corpus), **values})
    return overfit(
        cell,
        corpora=lambda tokenizer: prepare(str(small_corpus), tokenizer, cache=cache),
        tokens=tokens,
        steps=steps,
    )


def test_a_cell_learns_a_little_text_by_heart(small_corpus: Path, cache: Path) -> None:
    found = tried(small_corpus, cache, tokens=128, steps=200)
    assert found.learned, found.told
    assert found.tokens == 128
    assert found.steps < 200, "it ends once it is learned"
    assert found.last < 0.1
    assert found.first > 5
    assert found.told.startswith("learned by heart: the loss of 128 tokens went from")


def test_one_that_cannot_fails_with_the_numbers(small_corpus: Path, cache: Path) -> None:
    found = tried(small_corpus, cache, tokens=128, steps=10, learning_rate=1e-7)
    assert not found.learned
    assert f"the loss of 128 tokens went from {found.first:.3f} to" in found.told
    assert "had to fall below 0.1. Chance is 6.238" in found.told
    assert "it hardly learns at all" in found.told
    assert "too slowly" in replace(found, last=2.0).told
    assert "diverged" in replace(found, last=float("nan")).told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tokens", "0"], "tokens is 0; it must be at least 1"),
        (["--below", "-1"], "below is -1; it must be a positive loss"),
        (["--tokens", "6400", "--steps", "5"], "5 steps are not one pass over 6,400 tokens"),
    ],
)
def test_the_command_refuses_what_is_impossible(
    command: str, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert run_command(app, MODULE, [command, *options, "--device", "cpu"]) == 2
    assert message in capsys.readouterr().err


def test_the_command_fails_loudly(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--tokens", "128", "--steps", "4", "--device", "cpu"]
    with pytest.raises(SystemExit, match="1"):
        run_command(app, MODULE, [command, *few])
    assert "not learned by heart" in capsys.readouterr().out
