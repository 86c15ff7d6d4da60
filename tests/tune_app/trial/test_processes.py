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
    alone = Trial(CELL, corpora=corpora)
    undisturbed = [observed(alone) for _ in range(3)]

    last = None
    for processes, expected in zip((1, 2, 1), undisturbed, strict=True):
        trial = Trial(
            CELL,
            corpora=corpora,
            checkpoints=Checkpoints(PathStore(tmp_path), cell=CELL.key),
            processes=processes,
        )
        try:
            if last is not None:
                assert trial.resumed_from == last.tokens
                assert replace(observed(trial), seconds={}) == replace(last, seconds={})
            last = observed(trial)
            assert_same(last, expected)
            trial.save()
        finally:
            trial.close()

    assert last is not None
    assert last.full_bits_per_byte == pytest.approx(undisturbed[-1].full_bits_per_byte, rel=1e-5)


def test_what_two_processes_trained_to_the_end_is_trained_for_one(
    corpora: Corpora, tmp_path: Path
) -> None:
    def trial(processes: int) -> Trial:
        checkpoints = Checkpoints(PathStore(tmp_path), cell=CELL.key)
        return Trial(CELL, corpora=corpora, checkpoints=checkpoints, processes=processes)

    together = trial(2)
    try:
        last = [observed(together) for _ in range(3)][-1]
        assert together.finished
    finally:
        together.close()
    again = trial(1)
    assert again.trained
    assert replace(observed(again), seconds={}) == replace(last, seconds={})
