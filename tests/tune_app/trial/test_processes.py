"""A trial that several processes train: the cell, its scores and its checkpoints are the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from data.prepare import prepare
from tests.tune_app.trial.running import Corpora
from tests.tune_app.trial.test_trial import SMALL
from tune_app.journal.records import Observation
from tune_app.plan.cell import Cell
from tune_app.stores.path import PathStore
from tune_app.trial.checkpoints import Checkpoints
from tune_app.trial.trial import Trial

CELL = Cell.from_values({**SMALL, "precision": "fp32", "evaluations": 3, "learning_rate": 2e-3})


@pytest.fixture(scope="module")
def corpora(small_corpus: Path, cache: Path) -> Corpora:
    return lambda tokenizer: prepare(str(small_corpus), tokenizer, cache=cache)


def observed(trial: Trial) -> Observation:
    observation = None
    while observation is None:
        observation = trial.advance()
    return observation


def assert_same(one: Observation, other: Observation) -> None:
    assert one.tokens == other.tokens
    for name in ("train_loss", "bits_per_byte"):
        assert one.metrics[name] == pytest.approx(other.metrics[name], rel=1e-5), name
    norms = (seen.metrics["gradient_norm"] for seen in (one, other))
    assert next(norms) == pytest.approx(next(norms), rel=1e-4)


def test_a_cell_trained_by_one_process_then_two_then_one_is_that_of_one(
    corpora: Corpora, tmp_path: Path
) -> None:
    """And what two trained to the end is trained for one."""
    alone = Trial(CELL, corpora=corpora)
    undisturbed = [observed(alone) for _ in range(3)]
    half, whole = tmp_path / "half", tmp_path / "whole"

    def trial(folder: Path, *, processes: int) -> Trial:
        checkpoints = Checkpoints(PathStore(folder), cell=CELL.key)
        return Trial(CELL, corpora=corpora, checkpoints=checkpoints, processes=processes)

    PathStore(whole).check()
    one = trial(whole, processes=1)
    first = observed(one)
    assert_same(first, undisturbed[0])
    one.save()
    one.close()

    two = trial(whole, processes=2)
    try:
        assert two.resumed_from == first.tokens
        assert replace(observed(two), seconds={}) == replace(first, seconds={})
        second = observed(two)
        assert_same(second, undisturbed[1])
        two.save()
        shutil.copytree(whole, half)
        last = observed(two)
        assert_same(last, undisturbed[2])
        assert two.finished
    finally:
        two.close()

    again = trial(half, processes=1)
    assert again.resumed_from == second.tokens
    assert replace(observed(again), seconds={}) == replace(second, seconds={})
    for found in (observed(again), last):
        assert_same(found, undisturbed[2])
        expected = undisturbed[2].full_bits_per_byte
        assert found.full_bits_per_byte == pytest.approx(expected, rel=1e-5)
    again.close()

    ended = trial(whole, processes=1)
    assert ended.trained
    assert replace(observed(ended), seconds={}) == replace(last, seconds={})
    ended.close()
