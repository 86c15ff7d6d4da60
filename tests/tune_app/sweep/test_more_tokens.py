"""`--extend-tokens`: a finished sweep on more tokens, as a person asks for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from data.prepare import prepare
from data.tokenizers.spec import TokenizerSpec
from tests.tune_app.observations import repeated
from tests.tune_app.real_sweeps import Sweeps, facts, rows, wait_until
from tests.tune_app.sweeps import observe, planned, record_of
from tune_app.command_line import run_command
from tune_app.journal.journal import Journal
from tune_app.journal.records import Action, Decision, Status
from tune_app.stores.path import PathStore
from tune_app.sweep.__main__ import app
from tune_app.sweep.beginnings import more_tokens
from tune_app.sweep.extended import extended_sweep, short
from tune_app.trial.checkpoints import Checkpoints
from tune_app.trial.trained import load

CONSTANT = {"schedule": "wsd", "warmup_tokens": 100}
SMALL: dict[str, Any] = {
    **{"target_parameters": 60_000, "vocab_size": 512, "n_heads": 2, "context": 32},
    **{"tokens": 4_096, "batch_size": 4, "evaluations": 4, "evaluation_bytes": 4_096},
    **{"learning_rate": 1e-2, "schedule": "wsd", "warmup_tokens": 500},
}
SPACE = """
AXES = {"glu_expansion": [2.66, 3.0]}
FIXED = %r
SCHEDULER = {"name": "none"}
KILL_RULE = {"unit": "off"}
"""


def journal_of(path: Path, **fixed: Any) -> Journal:
    """A journal of three pending cells, the baseline first."""
    plan = planned(**fixed)
    return Journal.create(path / "small/journal.sqlite3", record_of(plan), plan.cells)


def end(journal: Journal, key: str, action: Action = Action.FINISH) -> None:
    journal.start_attempt(key)
    decision = Decision(cell=key, tokens=1_000, action=action, rule="test", reason="it is enough")
    journal.record(observe(key, 1_000, 3.0), decision)


def test_what_finished_is_named_and_the_rest_stays_behind(tmp_path: Path) -> None:
    with journal_of(tmp_path, **CONSTANT, evaluations=10) as journal:
        baseline, other, stopped = journal.cells()
        end(journal, baseline.key)
        end(journal, stopped.key, Action.STOP)
        with pytest.raises(ValueError, match=r"has not ended \(1 cell: 2 still to train\); end it"):
            extended_sweep(journal.sweep(), journal.cells(), tokens=2_000)
        end(journal, other.key)
        found = extended_sweep(journal.sweep(), journal.cells(), tokens=1_500)
    assert [cell.label for cell in found.plan.cells] == ["2.66", "2"]
    assert [cell.label for cell in found.left] == ["4"]
    assert {cell.values["tokens"] for cell in found.plan.cells} == {1_500}
    assert {cell.values["evaluations"] for cell in found.plan.cells} == {15}, "as far apart"
    assert (found.plan.name, found.plan.tokens) == ("small-1500", 1_500)
    assert found.rules.scheduler is None and found.rules.kill_rule.margin == 0.5
    assert not {cell.key for cell in found.plan.cells} & {baseline.key, other.key}
    assert [short(number) for number in (600_000, 2_000_000, 614_400)] == ["600k", "2M", "614400"]


@pytest.mark.parametrize(
    ("fixed", "tokens", "message"),
    [
        (
            CONSTANT,
            "1000",
            "--extend-tokens is 1,000, and the cells of small are trained on 1,000 tokens; name "
            "all tokens that a cell is to have, more than those",
        ),
        (CONSTANT, "0.5k", "--extend-tokens is 500, and the cells of small"),
        (
            {},
            "2k",
            "the cell 2.66 cannot be trained on more tokens: the cosine schedule spans all tokens, "
            "so that over more of them the learning rate would be another from the first step on; "
            "train with --set schedule=wsd and warmup_tokens what is to be extended",
        ),
        (
            {"schedule": "wsd"},
            "2k",
            "its learning rate rises over 0.05 of all tokens, so that over more of them it would "
            "be another from the first step on; train with --set warmup_tokens=50, which",
        ),
    ],
)
def test_what_cannot_go_on_is_refused_with_value_limit_and_remedy(
    fixed: dict[str, Any],
    tokens: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with journal_of(tmp_path, **fixed) as journal:
        for cell in journal.cells():
            end(journal, cell.key)
    assert message in refused(["small", "--extend-tokens", tokens], tmp_path, capsys)


@pytest.mark.parametrize("started", [False, True])
def test_a_sweep_that_has_not_ended_is_refused(
    started: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with journal_of(tmp_path, **CONSTANT) as journal:
        baseline, *others = journal.cells()
        for cell in others:
            end(journal, cell.key)
        if started:
            journal.start_attempt(baseline.key)
    assert (
        "the sweep small has not ended (1 cell: 2.66 still to train); end it first with: "
        "python -m tune_app.sweep"
    ) in refused(["small", "--extend-tokens", "2k"], tmp_path, capsys)


def test_nothing_goes_on_without_the_baseline(tmp_path: Path) -> None:
    with journal_of(tmp_path, **CONSTANT) as journal:
        baseline, *others = journal.cells()
        end(journal, baseline.key, Action.STOP)
        for cell in others:
            end(journal, cell.key)
        with pytest.raises(ValueError, match="the baseline of small has not finished"):
            extended_sweep(journal.sweep(), journal.cells(), tokens=2_000)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["smal"], "there is no sweep 'smal' in"),
        (["small", "--seeds", "1"], "--extend-tokens takes the cells and their settings from"),
    ],
)
def test_what_is_misspelt_is_told(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal_of(tmp_path, **CONSTANT).close()
    assert message in refused([*words, "--extend-tokens", "2k"], tmp_path, capsys)


def refused(words: list[str], results: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that is refused; nothing is left behind by it."""
    command = ["plan", *words, "--results", str(results)]
    assert run_command(app, "tune_app.sweep", command) == 2
    assert [path.name for path in results.iterdir()] == ["small"]
    return capsys.readouterr().err


def finished_on(corpus: Path, cache: Path, results: Path) -> Journal:
    """A sweep of three cells that all finished; none of them has a checkpoint."""
    plan = planned(**SMALL, corpus=str(corpus))
    prepared = prepare(str(corpus), TokenizerSpec(vocab_size=512), cache=cache)
    record = record_of(plan, corpus_sha256=prepared.manifest.corpus_sha256)
    journal = Journal.create(results / "small/journal.sqlite3", record, plan.cells)
    for cell in journal.cells():
        end(journal, cell.key)
    return journal


def test_a_cell_without_a_checkpoint_is_trained_anew_and_that_is_said(
    tmp_path: Path, small_corpus: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STELLUX_CACHE", str(cache))
    console, store = Console(quiet=True), PathStore(tmp_path / "small/checkpoints")
    store.check()
    with finished_on(small_corpus, cache, tmp_path) as journal:
        with pytest.raises(ValueError, match="no cell of small has a checkpoint from before"):
            more_tokens("small", 8_192, results=tmp_path, console=console)
        begun, *others = journal.cells()
        for cell, taken_at in ((begun, (3_328, 4_096)), (others[0], (4_096,))):
            own = Checkpoints(store, cell=cell.key)
            names = [own.save({}, tokens=tokens) for tokens in taken_at]
            journal.keep(cell.key, f"checkpoints/{names[-1]}")
    asked = more_tokens("small", 8_192, results=tmp_path, console=console)
    longer, *anew = asked.plan.cells
    assert asked.inheritance.done == {longer.key: 3_328 / 8_192}
    assert asked.inheritance.origin["from_the_start"] == [cell.label for cell in anew]
    assert [cell.key for cell in asked.inheritance.cells] == [longer.key]
    assert dict(asked.facts) == {
        "extends": "the sweep small: 1 cell from 3.3k tokens, before the cool-down, to 8.2k",
        "anew": "2, 4: without a checkpoint from before the cool-down, from the start",
    }


def curves(sweeps: Sweeps, name: str) -> dict[str, list[Any]]:
    """The curve of each cell by its label, without what a clock had to do with it."""
    with sweeps.journal(name) as journal:
        return {
            cell.label: [
                replace(one, seconds={}, metrics=repeated(one.metrics))
                for one in sorted(journal.observations(cell.key), key=lambda one: one.tokens)
            ]
            for cell in journal.cells()
        }


@pytest.mark.sweeps
def test_an_extended_sweep_has_the_bits_of_one_that_was_longer_from_the_start(
    tmp_path: Path, small_corpus: Path, cache: Path
) -> None:
    """Killed while it goes on, and continued."""
    sweeps = Sweeps(tmp_path, small_corpus, cache)
    sweeps.space.write_text(SPACE % {**SMALL, "corpus": str(small_corpus)})
    code, output = sweeps.run("shorter")
    assert code == 0, output
    with sweeps.journal("shorter") as journal:
        before = facts(journal)
    folder, more = sweeps.path("shorter-8192"), ("--extend-tokens", "8192")
    process = sweeps.start("shorter", *more)
    wait_until(lambda: rows(folder, "SELECT count(*) >= 8 FROM observations") == [(1,)], process)
    process.kill()
    process.communicate()
    code, output = sweeps.run("shorter", *more)
    assert code == 0, output
    with sweeps.journal("shorter-8192") as journal:
        cells = journal.cells()
        assert [cell.status for cell in cells] == [Status.FINISHED] * 2
        origin = journal.sweep().origin
        assert origin["extends"] == "shorter"
        assert [one["tokens"] for one in origin["cells"].values()] == [3_328, 3_328]
        starts = [one.resumed_from for cell in cells for one in journal.attempts(cell.key)[1:]]
        assert min(start or 0 for start in starts) >= 3_328, "no token was trained twice"
    with sweeps.journal("shorter") as journal:
        assert facts(journal) == before, "what the shorter sweep found stays as it is"

    code, output = sweeps.run("whole", "--tokens", "8192", "--set", "evaluations=8")
    assert code == 0, output
    assert curves(sweeps, "shorter-8192") == curves(sweeps, "whole")
    with sweeps.journal("whole") as journal:
        assert [cell.key for cell in journal.cells()] == [cell.key for cell in cells]
        wholes = journal.checkpoints()
    with sweeps.journal("shorter-8192") as journal:
        for key, url in journal.checkpoints().items():
            one = load(url, folder=folder)
            other = load(wholes[key], folder=sweeps.path("whole"))
            torch.testing.assert_close(
                one.model.state_dict(), other.model.state_dict(), rtol=0, atol=0
            )
    results = (folder / "report.html").read_text("utf-8")
    assert "goes on from" in results
