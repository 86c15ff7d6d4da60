"""A trained cell on more tokens: the bits are those of one that had them from the start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data.prepare import prepare
from data.prepared import PreparedCorpus
from data.tokenizers.spec import TokenizerSpec
from tests.tune_app.observations import repeated
from tune_app.journal.records import Observation
from tune_app.plan.cell import Cell
from tune_app.stores.path import PathStore
from tune_app.trial.checkpoints import Checkpoints
from tune_app.trial.data import TrialData
from tune_app.trial.longer import longer_state
from tune_app.trial.trial import Trial

SMALL: dict[str, Any] = {
    "target_parameters": 60_000,
    "vocab_size": 512,
    "n_heads": 2,
    "context": 32,
    "tokens": 2_560,
    "batch_size": 4,
    "evaluations": 5,
    "evaluation_bytes": 4_096,
    "learning_rate": 1e-2,
    "schedule": "wsd",
    "warmup_tokens": 500,
    "dropout": 0.1,
}
LONGER = {**SMALL, "tokens": 5_120, "evaluations": 10}
FULL_RATE_UNTIL = 2_048

Corpora = Callable[[TokenizerSpec], PreparedCorpus]


@pytest.fixture(scope="module")
def corpora(small_corpus: Path, cache: Path) -> Corpora:
    return lambda tokenizer: prepare(str(small_corpus), tokenizer, cache=cache)


def trained(
    values: dict[str, Any], corpora: Corpora, store: PathStore
) -> tuple[list[Observation], dict[str, Any]]:
    """What a trial finds, without what the clock had to do with it, and its last state."""
    cell = Cell.from_values(values)
    store.check()
    checkpoints = Checkpoints(store, cell=cell.key)
    trial = Trial(cell, corpora=corpora, checkpoints=checkpoints)
    found = []
    while not trial.finished:
        observation = trial.advance()
        assert observation is not None
        found.append(replace(observation, seconds={}, metrics=repeated(observation.metrics)))
    trial.close()
    state = checkpoints.newest().state
    assert state is not None
    return found, dict(state["training"])


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"optimizer": "muon"},
        # Other tokens than the baseline's, of which a training has no whole number.
        {"vocab_size": 600, "baseline": {"vocab_size": 512}, "tokens": 2_517},
    ],
)
def test_more_tokens_give_the_same_bits_as_if_they_had_been_there_from_the_start(
    other: dict[str, Any], corpora: Corpora, tmp_path: Path
) -> None:
    short = {**SMALL, **other}
    longer = {**short, "tokens": 2 * short["tokens"], "evaluations": 10}
    store = PathStore(tmp_path / "shorter")
    trained(short, corpora, store)
    cell = Cell.from_values(longer)
    data = TrialData(cell, corpora=corpora)
    shorter = Cell.from_values(short)
    until = TrialData(shorter, corpora=corpora).full_rate_until(shorter)
    restored = Checkpoints(store, cell=shorter.key).newest(at_most=until or 0)
    assert restored.tokens == until, "the last step at the full rate has its checkpoint"
    assert restored.state is not None
    state = longer_state(restored.state, cell=cell, data=data)
    beginning = PathStore(tmp_path / "longer")
    beginning.check()
    Checkpoints(beginning, cell=cell.key).save(state, tokens=restored.tokens)

    continued, one = trained(longer, corpora, beginning)
    whole, other_one = trained(longer, corpora, PathStore(tmp_path / "whole"))
    assert continued == whole[-len(continued) :]
    assert continued[0].tokens <= restored.tokens, "the last one again"
    torch.testing.assert_close(one["model"], other_one["model"], rtol=0, atol=0)
    for name in ("training", "tokens", "steps"):
        assert one[name] == other_one[name]


def test_a_state_that_would_have_been_another_is_refused(corpora: Corpora, tmp_path: Path) -> None:
    store = PathStore(tmp_path)
    trained(SMALL, corpora, store)
    checkpoints = Checkpoints(store, cell=Cell.from_values(SMALL).key)
    last, before = checkpoints.newest().state, checkpoints.newest(at_most=FULL_RATE_UNTIL).state
    assert last is not None and before is not None

    def longer(state: Any, **changed: Any) -> dict[str, Any]:
        cell = Cell.from_values({**LONGER, **changed})
        return longer_state(state, cell=cell, data=TrialData(cell, corpora=corpora))

    assert longer(before)["evaluations"] == 4
    with pytest.raises(ValueError, match=r"another from 2,048 tokens on.*is of 2,560 tokens"):
        longer(last)
    with pytest.raises(ValueError, match=r"another cell \(learning_rate"):
        longer(before, learning_rate=2e-2)
    with pytest.raises(ValueError, match=r"another cell \(warmup_tokens: 500.0 → 600.0"):
        longer(before, warmup_tokens=600)


def test_a_cell_that_cannot_be_extended_keeps_no_more_checkpoints(
    corpora: Corpora, tmp_path: Path
) -> None:
    for values, number in ((SMALL, 2), ({**SMALL, "schedule": "cosine"}, 1)):
        key = Cell.from_values(values).key
        trained(values, corpora, PathStore(tmp_path))
        assert len(list((tmp_path / key).glob("*.json"))) == number
