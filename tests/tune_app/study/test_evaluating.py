"""A study evaluates its finalists: once, each suite recorded as it is done, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.study.studies import MadeUp, noisy, run_made_up, study_of
from tune_app.evaluation import run as running
from tune_app.evaluation.choice import ChosenCell
from tune_app.evaluation.recording import record
from tune_app.evaluation.results import SuiteResult
from tune_app.journal.journal import Journal
from tune_app.journal.records import CellEvaluation
from tune_app.study import evaluating
from tune_app.study.file import StudyError, load_study
from tune_app.study.spec import Study


class Evaluations:
    """Stands in for `evaluate_cell`: records made-up results, one after another."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        """Cell and suite."""
        self.left: int | None = None
        """Suites until it is interrupted."""
        self.broken: set[float] = set()
        """Expansions of cells whose checkpoints are gone."""

    def __call__(
        self, chosen: ChosenCell, options: running.EvaluationOptions, *_: Any, **__: Any
    ) -> Path:
        if chosen.cell.cell.values["glu_expansion"] in self.broken:
            raise ValueError("its checkpoint is gone")
        assert options.splits == ("dev",)
        with Journal.open(chosen.folder / "journal.sqlite3") as journal:
            known = {one.suite for one in journal.evaluations(chosen.cell.cell.key)}
            for suite in options.suites:
                if suite in known:
                    continue
                if self.left == 0:
                    raise KeyboardInterrupt
                self.left = None if self.left is None else self.left - 1
                self.done.append((chosen.cell.cell.label, suite))
                result = SuiteResult(
                    suite=suite,
                    split="dev",
                    metrics={"bits_per_byte": 2.5, "bits_per_byte_error": 0.01, "seconds": 1.0},
                    notes={},
                    units=[],
                    contaminated=[],
                )
                record(journal, chosen.cell, result, tokens=1)
        return chosen.folder


def evaluations(results: Path) -> list[CellEvaluation]:
    with Journal.open(results / "tiny/2-finalists/journal.sqlite3", read_only=True) as journal:
        return journal.evaluations()


def study() -> Study:
    return study_of(evaluate=["language_modelling", "throughput"])


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Evaluations:
    made = Evaluations()
    monkeypatch.setattr(evaluating, "evaluate_cell", made)
    monkeypatch.setattr(evaluating, "write_results", lambda *_: None)
    return made


def test_an_interrupted_study_evaluates_what_is_missing(
    made: Evaluations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeps = MadeUp(noisy(0.01))
    made.left = 3
    with pytest.raises(KeyboardInterrupt):
        run_made_up(study(), sweeps, tmp_path, monkeypatch)
    assert len(evaluations(tmp_path)) == 3
    made.left = None
    code, shown = run_made_up(study(), sweeps, tmp_path, monkeypatch)
    assert code == 0 and "Evaluating 3 finalists on language_modelling, throughput" in shown
    assert len(made.done) == len(set(made.done)) == len(evaluations(tmp_path)) == 6
    # The baseline and two others, all on the seed that they share.
    with Journal.open(tmp_path / "tiny/2-finalists/journal.sqlite3", read_only=True) as journal:
        seeds = {cell.key: cell.values["seed"] for cell in journal.cells()}
    assert {seeds[one.cell] for one in evaluations(tmp_path)} == {3}
    report = (tmp_path / "tiny/REPORT.md").read_text("utf-8")
    _, _, table = report.partition("## The finalists, evaluated")
    row = next(line for line in table.splitlines() if line.startswith("| throughput"))
    assert row.count("2.5000 ± 0.0100 bits per byte") == 3
    assert "of seed 3;" in table
    # Nothing is done again, and nothing looked at; but what the file asks for anew is.
    made.broken = {2.0, 2.66, 3.0}
    assert run_made_up(study(), sweeps, tmp_path, monkeypatch)[0] == 0
    made.broken = set()
    more = study_of(evaluate=["language_modelling", "throughput", "latency"])
    run_made_up(more, sweeps, tmp_path, monkeypatch)
    assert [suite for _, suite in made.done[6:]] == ["latency"] * 3


def test_a_finalist_that_cannot_be_evaluated_ends_nothing(
    made: Evaluations,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sweeps = MadeUp(noisy(0.01))
    made.broken = {2.66}
    code, shown = run_made_up(study(), sweeps, tmp_path, monkeypatch)
    assert code == 1 and "1 finalist not evaluated" in shown
    assert "2.66 could not be evaluated: its checkpoint is gone" in caplog.text
    report = (tmp_path / "tiny/REPORT.md").read_text("utf-8")
    assert "| not evaluated |" in report and "**Verdict" in report
    made.broken = set()
    assert run_made_up(study(), sweeps, tmp_path, monkeypatch)[0] == 0
    assert len(evaluations(tmp_path)) == 6


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('evaluate = ["latancy"]', "no suite 'latancy'; did you mean latency"),
        ("evaluate = 3", "evaluate is 3; it must be"),
    ],
)
def test_a_suite_that_is_not_there_is_refused_at_once(
    line: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(f'corpus = "stdlib"\ntokens = 1_000\n{line}\n[[phase]]\nkind = "baseline"\n')
    with pytest.raises(StudyError, match=message):
        load_study(str(file))


def test_data_that_is_not_there_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = study_of(evaluate=["gsm8k"], evaluation_data=str(tmp_path))
    sweeps = MadeUp(noisy(0.01))
    with pytest.raises(ValueError, match="has no gsm8k_test"):
        run_made_up(wanted, sweeps, tmp_path, monkeypatch)
    assert sweeps.trained == {}
