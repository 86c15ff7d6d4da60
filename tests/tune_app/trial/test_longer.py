"""A trained cell on more tokens: the bits are those of one that had them from the start."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from data.prepare import prepare
from data.sources.mixed import mixed_name
from data.tokenizers.spec import TokenizerSpec
from model.training.hardware import Cpu
from tests.tune_app.trial import test_trial as trials
from tests.tune_app.trial.running import Corpora, results, run_to_end
from tune_app.journal.records import Observation
from tune_app.plan.cell import Cell
from tune_app.stores.path import PathStore
from tune_app.trial.checkpoints import Checkpoints
from tune_app.trial.data import TrialData
from tune_app.trial.longer import longer_state
from tune_app.trial.trial import Trial

SMALL: dict[str, Any] = {
    **trials.SMALL,
    "schedule": "wsd",
    "warmup_tokens": 500,
    "dropout": 0.1,
}
LONGER = {**SMALL, "tokens": 5_120, "evaluations": 10}
FULL_RATE_UNTIL = 2_048


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
    found = results(run_to_end(trial))
    trial.close()
    state = checkpoints.newest().state
    assert state is not None
    return found, dict(state["training"])


def lengthen(
    short: dict[str, Any], longer: dict[str, Any], corpora: Corpora, *, of: PathStore, to: PathStore
) -> int:
    """Brings the state from which the longer cell goes on into its store; returns its tokens."""
    shorter, cell = Cell.from_values(short), Cell.from_values(longer)
    until = TrialData(shorter, corpora=corpora).full_rate_until(shorter)
    restored = Checkpoints(of, cell=shorter.key).newest(at_most=until or 0)
    assert restored.tokens == until, "the last step at the full rate has its checkpoint"
    assert restored.state is not None
    state = longer_state(restored.state, cell=cell, data=TrialData(cell, corpora=corpora))
    to.check()
    Checkpoints(to, cell=cell.key).save(state, tokens=restored.tokens)
    return restored.tokens


def times(number: int, short: dict[str, Any]) -> dict[str, Any]:
    """The cell on so many times the tokens, evaluated as often."""
    totals = {name: number * short[name] for name in ("tokens", "evaluations")}
    return {**short, **totals}


# Four trainings a case: the hardest one is in the usual run.
@pytest.mark.parametrize(
    "other",
    [
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"optimizer": "muon"}, marks=pytest.mark.slow),
        # Other tokens than the baseline's, of which a training has no whole number.
        {"vocab_size": 600, "baseline": {"vocab_size": 512}, "tokens": 1_261},
        pytest.param({"corpus": "a mixture", "mixture": "80/20"}, marks=pytest.mark.slow),
    ],
)
def test_more_tokens_give_the_same_bits_as_if_they_had_been_there_from_the_start(
    other: dict[str, Any], corpora: Corpora, small_corpus: Path, cache: Path, tmp_path: Path
) -> None:
    """And more again, from what was itself continued."""
    if "mixture" in other:
        numbers = tmp_path / "numbers.txt"
        numbers.write_text("".join(f"{n} squared is {n * n}\n" for n in range(1_500)))
        name = mixed_name([str(small_corpus), str(numbers)])
        mixed = prepare(name, TokenizerSpec(vocab_size=512), cache=cache)
        corpora, other = (lambda tokenizer: mixed), {**other, "corpus": name}
    one = {**SMALL, "tokens": 1_280, "evaluations": 2, **other}
    two, three = times(2, one), times(3, one)
    first, second, third = (PathStore(tmp_path / name) for name in ("one", "two", "three"))
    trained(one, corpora, first)
    lengthen(one, two, corpora, of=first, to=second)
    trained(two, corpora, second)
    begun = lengthen(two, three, corpora, of=second, to=third)
    continued, last = trained(three, corpora, third)

    whole, other_last = trained(three, corpora, PathStore(tmp_path / "whole"))
    assert continued == whole[-len(continued) :]
    assert continued[0].tokens <= begun, "the last one again"
    torch.testing.assert_close(last["model"], other_last["model"], rtol=0, atol=0)
    for name in ("training", "tokens", "steps"):
        assert last[name] == other_last[name]


def test_training_goes_on_while_the_last_state_at_the_full_rate_is_stored(
    corpora: Corpora,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    may_go = threading.Event()

    class Slow(Checkpoints):
        def save(self, state: Mapping[str, Any], **known: Any) -> str:
            assert may_go.wait(10)
            return super().save(state, **known)

    monkeypatch.setattr("tune_app.trial.trial._SAVE_PATIENCE", 0.5)
    cell = Cell.from_values(SMALL)
    store = PathStore(tmp_path)
    store.check()
    trial = Trial(cell, corpora=corpora, checkpoints=Slow(store, cell=cell.key))
    while trial.tokens < SMALL["tokens"]:
        trial.advance(at_most=0)
    assert not list(tmp_path.rglob("*.pt")), "nothing is stored yet"
    may_go.set()
    while not trial.finished:
        trial.advance(at_most=1)
    trial.close()
    stored = sorted(int(path.name.partition("-")[0]) for path in tmp_path.rglob("*.json"))
    assert stored == [FULL_RATE_UNTIL, SMALL["tokens"]]
    assert "later" not in caplog.text


def test_what_diverged_is_not_kept_to_go_on_from(
    corpora: Corpora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although its steps are still on the device when the full rate ends."""
    monkeypatch.setattr(Cpu, "STEPS_AHEAD", 20)
    cell = Cell.from_values({**SMALL, "evaluations": 1})
    store = PathStore(tmp_path)
    store.check()
    trial = Trial(cell, corpora=corpora, checkpoints=Checkpoints(store, cell=cell.key))
    with torch.no_grad():
        trial._training.model.final_norm.weight[0] = math.nan
    observation = trial.advance()
    trial.close()
    assert observation is not None and math.isnan(observation.train_loss)
    assert observation.tokens == FULL_RATE_UNTIL
    assert not list(tmp_path.rglob("*.json"))


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
