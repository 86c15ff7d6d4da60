"""The study follows the sweep live, is the same when rebuilt, and optuna-dashboard shows it."""

from __future__ import annotations

import json
import logging
import math
import sqlite3
import threading
import urllib.request
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from tests.tune_app.journals import make_journal, play
from tests.tune_app.sweep.test_extension import amend
from tests.tune_app.sweeps import new_journal, observe, planned
from tune_app.journal.journal import Journal
from tune_app.results.mirrors import optuna_rows
from tune_app.results.mirrors.optuna import OptunaListener, _times, write_optuna
from tune_app.results.mirrors.optuna_url import optuna_file, optuna_url
from tune_app.results.summary import summarise
from tune_app.stopping.all_rules import StoppingRules
from tune_app.sweep.extension import extension


def _trials(path: Path) -> list[FrozenTrial]:
    study = optuna.load_study(study_name=None, storage=optuna_url(path))
    return study.get_trials(deepcopy=False)


def _content(path: Path) -> list[dict[str, Any]]:
    """What a study says, times apart."""
    return [
        {
            "number": trial.number,
            "state": trial.state.name,
            "values": trial.values,
            "params": trial.params,
            "distributions": trial.distributions,
            "user_attrs": trial.user_attrs,
            "curve": {step: repr(value) for step, value in trial.intermediate_values.items()},
        }
        for trial in _trials(path)
    ]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Journal]:
    """A folder with the study that a listener kept, and the sweep's journal."""
    folder = tmp_path_factory.mktemp("study")
    listener = OptunaListener(folder / "optuna.sqlite3")
    return folder, make_journal(folder / "journal.sqlite3", listener=listener)


def test_a_trial_a_cell_in_the_state_of_the_cell(sweep: tuple[Path, Journal]) -> None:
    folder, journal = sweep
    trials, cells = _trials(folder / "optuna.sqlite3"), journal.cells()
    assert [trial.user_attrs["key"] for trial in trials] == [cell.key for cell in cells]
    states = {trial.user_attrs["label"]: trial.state for trial in trials}
    assert states["35% × 2.66"] is TrialState.COMPLETE
    assert states["25% × 3"] is states["35% × 4"] is states["45% × 2"] is TrialState.PRUNED
    assert states["45% × 3"] is states["45% × 4"] is TrialState.FAIL


def test_values_steps_and_reasons_are_the_journal_s(sweep: tuple[Path, Journal]) -> None:
    folder, journal = sweep
    trials = {trial.user_attrs["label"]: trial for trial in _trials(folder / "optuna.sqlite3")}
    cell = next(cell for cell in journal.cells() if cell.label == "35% × 3")
    curve = journal.observations(cell.key)
    trial = trials["35% × 3"]
    assert trial.value == curve[-1].full_bits_per_byte
    assert trial.intermediate_values == {
        point.baseline_tokens: point.bits_per_byte for point in curve
    }
    assert trial.params == {"embedding_ratio": 0.35, "glu_expansion": 3.0}
    assert cell.parameters is not None
    assert trial.user_attrs["parameters"] == cell.parameters["total"]
    pruned = trials["25% × 3"]
    assert pruned.value is None, "its last value would be ranked"
    assert "not in the better half" in pruned.user_attrs["reason"]
    assert math.isnan(trials["45% × 2"].intermediate_values[56_250])
    assert "ran out of shared memory" in trials["45% × 3"].user_attrs["reason"]


def test_best_trial_is_the_leader(sweep: tuple[Path, Journal]) -> None:
    folder, _ = sweep
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'optuna.sqlite3'}")
    assert study.best_trial.user_attrs["label"] == "35% × 2.66"
    assert study.metric_names == ["bits per byte"]


def test_live_and_rebuilt_are_the_same(sweep: tuple[Path, Journal], tmp_path: Path) -> None:
    folder, journal = sweep
    write_optuna(journal, tmp_path / "optuna.sqlite3")
    assert _content(tmp_path / "optuna.sqlite3") == _content(folder / "optuna.sqlite3")
    trial = _trials(tmp_path / "optuna.sqlite3")[0]
    assert trial.duration is not None
    spent = sum(journal.observations(journal.cells()[0].key)[-1].seconds.values())
    assert trial.duration.total_seconds() == pytest.approx(spent)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'optuna.sqlite3'}")
    told = "35% × 2.66 leads by 0.0009 bpb over 25% × 2.66, but the seeds' noise is unknown"
    assert study.user_attrs["verdict"].startswith(told)


def test_rows_written_at_once_are_those_that_optuna_writes(
    sweep: tuple[Path, Journal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, journal = sweep
    write_optuna(journal, tmp_path / "ours.sqlite3")

    def of_another_version(models: Any, identity: int, _: FrozenTrial) -> list[Any]:
        return [models.TrialParamModel(trial_id=identity, no_column=1)]

    # Where its tables are others than those known, it writes them itself.
    monkeypatch.setattr(optuna_rows, "_rows", of_another_version)
    write_optuna(journal, tmp_path / "optunas.sqlite3")
    assert _rows(tmp_path / "ours.sqlite3") == _rows(tmp_path / "optunas.sqlite3")
    assert len(_trials(tmp_path / "ours.sqlite3")) == 12


def _rows(path: Path) -> list[tuple[str, list[str]]]:
    """The rows of each table about trials, without the rows' own numbers."""
    with closing(sqlite3.connect(path)) as study:
        tables = study.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'trial%'"
        ).fetchall()
        return [
            (
                name,
                sorted(
                    repr(row[name != "trials" :]) for row in study.execute(f"SELECT * FROM {name}")
                ),
            )
            for (name,) in sorted(tables)
        ]


@pytest.mark.parametrize("name", ["a%20b", "what?mode=ro", "{x}", "[old]", "é #1"])
def test_a_path_may_have_anything_in_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    axes = {"embedding": ("tied",)}
    with make_journal(tmp_path / "journal.sqlite3", axes=axes) as journal:
        write_optuna(journal, folder / "optuna.sqlite3")
    assert [trial.state for trial in _trials(folder / "optuna.sqlite3")] == [TrialState.COMPLETE]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [name]
    assert [path.name for path in folder.iterdir()] == ["optuna.sqlite3"]


def test_a_clock_that_was_set_back_gives_no_negative_duration(tmp_path: Path) -> None:
    with make_journal(tmp_path / "journal.sqlite3", axes={"embedding": ("tied",)}) as journal:
        results = summarise(journal)
    days = 3 * 86_400.0
    later = replace(results.sweep, created_at=results.sweep.created_at + days)
    (result,) = results.cells
    start, end = _times(replace(results, sweep=later), result)
    spent = sum(result.seconds.values())
    assert (end - start).total_seconds() == pytest.approx(spent)
    assert start < end


def test_a_study_that_another_process_has_locked_is_told_and_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "optuna.sqlite3"
    with make_journal(tmp_path / "journal.sqlite3", axes={"embedding": ("tied",)}) as journal:
        write_optuna(journal, path)
        before = path.read_bytes()
        monkeypatch.setattr("tune_app.results.mirrors.optuna._PATIENCE", 0.5)
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(sqlite3.OperationalError, match="locked by another process"):
                write_optuna(journal, path)
    assert "is locked by another process; waiting for 0.5 s" in caplog.text
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".optuna-*"))


def test_a_locked_study_holds_no_sweep_up_and_catches_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = "tune_app.results.mirrors.optuna"
    monkeypatch.setattr(f"{module}._PATIENCE_LIVE", 0.05)
    monkeypatch.setattr(f"{module}._LOOK_AGAIN", 3_600.0)
    path = tmp_path / "optuna.sqlite3"
    axes = {"embedding": ("tied",)}
    with make_journal(tmp_path / "j", axes=axes, fates={("tied",): "pending"}) as journal:
        listener = OptunaListener(path)
        listener.sweep_started(journal)
        steps = play(journal, journal.cells()[0], "finished", 150_000, listener)
        next(steps)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            for _ in range(4):
                next(steps)
            other.execute("ROLLBACK")
        assert len(_trials(path)[0].intermediate_values) == 1
        monkeypatch.setattr(listener, "_look_at", 1e-9)
        list(steps)
        listener.sweep_ended()
        write_optuna(journal, tmp_path / "rebuilt.sqlite3")
    assert _content(path) == _content(tmp_path / "rebuilt.sqlite3")
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "is locked by another process; it is brought up to date when" in warning.getMessage()
    assert not list(tmp_path.glob(".optuna-*"))


def test_a_continued_sweep_has_no_trial_twice(tmp_path: Path) -> None:
    axes = {"embedding": ("tied", "untied")}
    fates = {("tied",): "running 3", ("untied",): "failed 2"}
    path = tmp_path / "optuna.sqlite3"
    first = OptunaListener(path)
    journal = make_journal(tmp_path / "j", axes=axes, fates=fates, listener=first)
    assert [trial.state.name for trial in _trials(path)] == ["RUNNING", "FAIL"]
    second = OptunaListener(path)
    second.sweep_started(journal)
    for cell in journal.cells():
        for _ in play(journal, cell, "finished", 150_000, second):
            pass
    second.sweep_ended()
    trials = _trials(path)
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE"]
    assert [len(trial.intermediate_values) for trial in trials] == [8, 8]
    write_optuna(journal, tmp_path / "rebuilt.sqlite3")
    assert _content(path) == _content(tmp_path / "rebuilt.sqlite3")


def test_a_lost_host_ends_no_trial(tmp_path: Path) -> None:
    path = tmp_path / "optuna.sqlite3"
    axes, fates = {"embedding": ("tied", "untied")}, {("tied",): "lost 3"}
    journal = make_journal(tmp_path / "j", axes=axes, fates=fates, listener=OptunaListener(path))
    trials = _trials(path)
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE"]
    assert [len(trial.intermediate_values) for trial in trials] == [8, 8]
    write_optuna(journal, tmp_path / "rebuilt.sqlite3")
    assert _content(path) == _content(tmp_path / "rebuilt.sqlite3")


def test_who_has_the_study_open_sees_it_rebuilt(
    sweep: tuple[Path, Journal], tmp_path: Path
) -> None:
    _, journal = sweep
    path = tmp_path / "optuna.sqlite3"
    with make_journal(tmp_path / "j", axes={"n_heads": (2,)}, fates={(2,): "pending"}) as other:
        write_optuna(other, path)
    with sqlite3.connect(path) as dashboard:
        assert dashboard.execute("SELECT count(*) FROM trials").fetchone() == (1,)
        write_optuna(journal, path)
        assert dashboard.execute("SELECT count(*) FROM trials").fetchone() == (12,)
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_a_ruined_study_is_replaced(sweep: tuple[Path, Journal], tmp_path: Path) -> None:
    _, journal = sweep
    path = tmp_path / "optuna.sqlite3"
    path.write_bytes(b"no database at all" * 100)
    write_optuna(journal, path)
    assert len(_trials(path)) == 12


def test_optuna_says_nothing(
    sweep: tuple[Path, Journal], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _, journal = sweep
    before = logging.getLogger("optuna").level
    write_optuna(journal, tmp_path / "optuna.sqlite3")
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("optuna").level == before


def test_axes_of_every_kind_and_several_seeds(tmp_path: Path) -> None:
    axes = {"n_heads": (2, 4), "embedding": ("tied", "untied"), "learning_rate": (1e-4, 1e-2)}
    with make_journal(tmp_path / "j", axes=axes, seeds=(3, 5)) as journal:
        write_optuna(journal, tmp_path / "optuna.sqlite3")
    trials = _trials(tmp_path / "optuna.sqlite3")
    assert len(trials) == 16
    assert trials[0].distributions == {
        "n_heads": optuna.distributions.IntDistribution(2, 4),
        "embedding": optuna.distributions.CategoricalDistribution(("tied", "untied")),
        "learning_rate": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True),
        "seed": optuna.distributions.IntDistribution(3, 5),
    }


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_optuna_dashboard_shows_it(sweep: tuple[Path, Journal]) -> None:
    import optuna_dashboard

    folder, _ = sweep
    app = optuna_dashboard.wsgi(f"sqlite:///{folder / 'optuna.sqlite3'}")
    with make_server("127.0.0.1", 0, app, handler_class=_Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            address = f"http://127.0.0.1:{server.server_port}"
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{address}/api/studies", timeout=30) as answer:
                (study,) = json.load(answer)["study_summaries"]
            with opener.open(f"{address}/api/studies/{study['study_id']}", timeout=30) as answer:
                detail = json.load(answer)
        finally:
            server.shutdown()
    states = [trial["state"] for trial in detail["trials"]]
    assert {state: states.count(state) for state in set(states)} == {
        "Complete": 4,
        "Pruned": 6,
        "Fail": 2,
    }


def test_an_extended_sweep_has_its_new_cells_as_trials(tmp_path: Path) -> None:
    path = tmp_path / "optuna.sqlite3"
    with new_journal(tmp_path / "journal.sqlite3", expansions=(2.66, 4.0)) as journal:
        write_optuna(journal, path)
        plan = planned(expansions=(2.66, 3.0, 4.0), seeds=(0, 1))
        rules = StoppingRules.from_record(journal.sweep())
        amend(journal, extension(journal.sweep(), journal.cells(), plan, rules, command=""))
        listener = OptunaListener(path)
        listener.sweep_started(journal)
        new = journal.cells()[-1]
        listener.cell_started(journal.cell(new.key))
        listener.observed(observe(new.key, 100, 2.0), None)
        listener.sweep_ended()
    trials = _trials(path)
    assert [trial.number for trial in trials] == list(range(6))
    assert trials[-1].user_attrs["key"] == new.key
    assert trials[-1].intermediate_values == {100: 2.0}
    assert {trial.params["seed"] for trial in trials} == {0, 1}
    assert {trial.params["glu_expansion"] for trial in trials} == {2.66, 3.0, 4.0}


def test_a_sweep_of_an_earlier_version_keeps_its_file(tmp_path: Path) -> None:
    assert optuna_file(tmp_path).name == "optuna.sqlite3"
    (tmp_path / "study.sqlite3").touch()
    assert optuna_file(tmp_path).name == "study.sqlite3"
    (tmp_path / "optuna.sqlite3").touch()
    assert optuna_file(tmp_path).name == "optuna.sqlite3"
