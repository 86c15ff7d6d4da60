"""Studies with real training, in processes of their own."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from data.prepare import prepare
from data.prepared import PreparedCorpus
from data.tokenizers.spec import TokenizerSpec
from tests.patience import PATIENCE_S
from tests.tune_app.observations import repeated
from tests.tune_app.real_sweeps import ROOT, rows, wait_until
from tests.tune_app.real_sweeps import facts as sweep_facts
from tests.tune_app.trial.running import run_to_end
from tune_app.journal.journal import Journal
from tune_app.journal.records import Observation
from tune_app.plan.cell import Cell
from tune_app.study.file import load_study
from tune_app.study.found import Found
from tune_app.study.run import read_study
from tune_app.trial.trial import Trial

TINY = """
corpus = %r
target_parameters = 60_000
vocab_size = 512
tokens = 10_240
evaluate = []

[fixed]
n_heads = 2
context = 32
batch_size = 4
evaluations = 10
evaluation_bytes = 16_384
learning_rate = 1e-2

[axes]
glu_expansion = [2.0, 2.5, 2.66, 3.0]

[scheduler]
name = "asha"

[kill_rule]
unit = "off"
"""
PHASES = """
[[phase]]
kind = "baseline"
seeds = 2
rates = []

[[phase]]
kind = "rank"

[[phase]]
kind = "finalists"
seeds = 2
most = 1
least = 1

[[phase]]
kind = "audit"
"""
CONTROLS = """
[[phase]]
kind = "control"

[[phase]]
kind = "control"
name = "planted"
planted = 0.1
"""


class Studies:
    """Runs a study file in folders of its own, one cell at a time."""

    def __init__(self, folder: Path, corpus: Path, cache: Path, phases: str) -> None:
        self.file = folder / "tiny.toml"
        self.file.write_text(TINY % str(corpus) + phases, "utf-8")
        self._environment = {**os.environ, "STELLUX_CACHE": str(cache)}

    def start(self, results: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "tune_app.study", str(self.file)),
                *("--results", str(results), "--cells-at-once", "1"),
            ],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, results: Path) -> str:
        process = self.start(results)
        output, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, output
        return output

    def found(self, results: Path) -> Found:
        return read_study(load_study(str(self.file)), results / "tiny")


def facts(points: tuple[Observation, ...]) -> list[object]:
    """A curve without what a clock had to do with it."""
    return [
        (
            point.tokens,
            point.sample_parts,
            repeated(point.metrics),
        )
        for point in points
    ]


@pytest.mark.sweeps
def test_a_killed_study_goes_on_and_its_cells_are_exact(
    small_corpus: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at a random moment, a study ends with the figures of one that was not: every cell's
    curve is that of the cell trained in one go, those that an audit took up again included."""
    monkeypatch.setenv("STELLUX_CACHE", str(cache))
    studies = Studies(tmp_path, small_corpus, cache, PHASES)
    results = tmp_path / "runs"
    moment = random.randrange(1, 40)
    process = studies.start(results)
    try:
        wait_until(lambda: _observed(results / "tiny") >= moment, process)
    finally:
        process.kill()
        process.communicate()
    output = studies.run(results)
    assert "Verdict, on the test split: " in output, moment

    found = studies.found(results)
    audit = found.phases[-1]
    taken_up = [cell for cell in audit.results.cells if len(cell.attempts) > 1]
    assert any(attempt.resumed_from for cell in taken_up for attempt in cell.attempts)
    whole = [cell for phase in found.phases for cell in phase.results.cells if cell.score]
    for cell in {cell.cell.key: cell for cell in whole}.values():
        assert facts(cell.curve) == facts(_in_one_go(cell.cell.values, small_corpus)), moment


@pytest.mark.slow
def test_a_study_killed_three_times_decides_and_measures_alike(
    small_corpus: Path, cache: Path, tmp_path: Path
) -> None:
    """Killed at three random moments and continued, one cell at a time; then a phase is run again
    from nothing."""
    studies = Studies(tmp_path, small_corpus, cache, PHASES)
    studies.run(tmp_path / "whole")
    many = _observed(tmp_path / "whole/tiny")
    moments = sorted(random.sample(range(1, 9 * many // 10), 3))
    killed = tmp_path / "killed"
    for moment in moments:
        process = studies.start(killed)
        try:
            wait_until(lambda at=moment: _observed(killed / "tiny") >= at, process)
        finally:
            process.kill()
            process.communicate()
    studies.run(killed)
    assert _said(killed) == _said(tmp_path / "whole"), moments
    found = studies.found(killed)
    for ours, theirs in zip(found.phases, studies.found(tmp_path / "whole").phases, strict=True):
        assert ours.origin == theirs.origin, (ours.name, moments)
        assert _sweep_facts(killed, ours.results.sweep.name) == _sweep_facts(
            tmp_path / "whole", ours.results.sweep.name
        ), (ours.name, moments)

    shutil.rmtree(killed / "tiny/2-finalists")
    studies.run(killed)
    again = studies.found(killed).phases[2]
    assert (again.name, again.origin) == ("finalists", found.phases[2].origin)
    assert _said(killed) == _said(tmp_path / "whole"), moments


def _said(results: Path) -> tuple[str, str]:
    """The verdict, and the report without what a clock had to do with it."""
    report = (results / "tiny/REPORT.md").read_text("utf-8").partition("## Forecast and cost")[0]
    return (results / "tiny/verdict.json").read_text("utf-8"), report


def _sweep_facts(results: Path, phase: str) -> Mapping[str, Any]:
    with Journal.open(results / "tiny" / phase / "journal.sqlite3", read_only=True) as journal:
        return sweep_facts(journal)


@pytest.mark.slow
def test_one_design_under_six_names_and_one_that_is_spoilt(
    small_corpus: Path, cache: Path, tmp_path: Path
) -> None:
    studies = Studies(tmp_path, small_corpus, cache, CONTROLS)
    studies.run(tmp_path / "runs")
    report = (tmp_path / "runs/tiny/REPORT.md").read_text("utf-8")
    same, spoilt = report.split("## Phase planted")
    assert "These data cannot tell name " in same
    assert "is worse than" not in same
    assert "name 6 is worse than name" in spoilt
    p = spoilt.split("name 6 is worse than name")[1].split("(p ")[1].split(")")[0]
    assert p.startswith("<") or float(p.removeprefix("= ")) < 0.01


def _observed(folder: Path) -> int:
    """Observations of all phases so far, adopted ones included."""
    found = 0
    for path in folder.glob("*/journal.sqlite3"):
        found += sum(count for (count,) in rows(path.parent, "SELECT count(*) FROM observations"))
    return found


def _in_one_go(values: Mapping[str, Any], corpus: Path) -> tuple[Observation, ...]:
    def prepared(tokenizer: TokenizerSpec) -> PreparedCorpus:
        return prepare(str(corpus), tokenizer)

    return tuple(run_to_end(Trial(Cell.from_values(values), corpora=prepared)))
