"""A trial that several processes train: the cell, its scores and its checkpoints are the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data.prepare import prepare
from tests.tune_app.trial.test_trial import SMALL, Corpora
from tune_app.journal.records import Observation
from tune_app.plan.cell import Cell
from tune_app.stores.path import PathStore
from tune_app.trial.checkpoints import Checkpoints
from tune_app.trial.trial import Trial

CELL = Cell.from_values({**SMALL, "precision": "fp32", "evaluations": 2, "learning_rate": 2e-3})


@pytest.fixture(scope="module")
def corpora(small_corpus: Path, cache: Path) -> Corpora:
    return lambda tokenizer: prepare(str(small_corpus), tokenizer, cache=cache)


def observed(trial: Trial) -> Observation:
    observation = None
    while observation is None:
        observation = trial.advance()
    return observation


def assert_same(one: Observation, other: Observation) -> None:
    for name in ("bits_per_byte", "train_loss", "gradient_norm"):
        assert one.metrics[name] == pytest.approx(other.metrics[name], rel=1e-4), name
    assert one.tokens == other.tokens


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_a_cell_goes_on_with_another_number_of_processes(
    first: int, then: int, corpora: Corpora, tmp_path: Path
) -> None:
    def trial(processes: int, *, keep: bool = True) -> Trial:
        checkpoints = Checkpoints(PathStore(tmp_path), cell=CELL.key) if keep else None
        return Trial(CELL, corpora=corpora, checkpoints=checkpoints, processes=processes)

    alone = trial(1, keep=False)
    halfway, end = observed(alone), observed(alone)
    stopped = trial(first)
    try:
        assert_same(observed(stopped), halfway)
        stopped.save()
    finally:
        stopped.close()
    continued = trial(then)
    try:
        assert continued.resumed_from == halfway.tokens
        assert_same(observed(continued), halfway)
        last = observed(continued)
    finally:
        continued.close()
    assert_same(last, end)
    assert last.full_bits_per_byte == pytest.approx(end.full_bits_per_byte, rel=1e-4)
    trained = trial(1)
    assert trained.trained
    assert replace(observed(trained), seconds={}) == replace(last, seconds={})
