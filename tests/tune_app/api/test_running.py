"""Running from Python trains what the command line would, and raises instead of exiting."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tune_app.journals import make_journal
from tune_app import plan_sweep, run_sweep
from tune_app.journal.endings import CTRL_C, Ending, EndKind
from tune_app.journal.records import Status
from tune_app.sweep.outcome import Outcome

AXES = {"embedding": ("tied", "untied")}
LOST = Ending(kind=EndKind.LOST, reason="the baseline diverged")


class Run:
    """Stands in for `train_sweep`: notes what it got and leaves a journal."""

    def __init__(self, ending: Ending | None, status: Status) -> None:
        self.outcome = Outcome(statuses=(status,), ending=ending)
        self.calls: list[dict[str, Any]] = []

    def __call__(self, plan: Any, rules: Any, options: Any, **rest: Any) -> Outcome:
        self.calls.append({"plan": plan, "options": options, **rest})
        rest["console"].print("[1/2] training")
        folder = options.results / plan.name
        folder.mkdir()
        make_journal(folder / "journal.sqlite3", axes=AXES).close()
        return self.outcome


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Run:
    fake = Run(*request.param)
    # In place of the module, which imports torch.
    module = SimpleNamespace(train_sweep=fake)
    monkeypatch.setitem(sys.modules, "tune_app.sweep.run", module)  # type: ignore[arg-type]
    return fake


@pytest.mark.parametrize("run", [(None, Status.FINISHED)], indirect=True)
def test_options_arrive_and_results_come_back(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = run_sweep("quick", tokens=9_000, results=tmp_path, cells_at_once=2)
    (call,) = run.calls
    assert call["plan"] == plan_sweep("quick", tokens=9_000).plan
    assert (call["options"].results, call["options"].cells_at_once) == (tmp_path, 2)
    assert call["command"].startswith("run_sweep(plan_sweep('quick', tokens=9000), results=")
    assert capsys.readouterr().out == "[1/2] training\n"
    assert (sweep.folder, sweep.ended_by) == (tmp_path / "quick", None)
    assert len(sweep.cells) == 2


@pytest.mark.parametrize("run", [(CTRL_C, Status.RUNNING)], indirect=True)
def test_an_interruption_is_raised_once_the_results_are_written(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_sweep(plan_sweep("quick"), results=tmp_path, progress=False)
    assert (tmp_path / "quick" / "journal.sqlite3").exists()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("run", [(LOST, Status.PENDING)], indirect=True)
def test_a_sweep_that_its_baseline_ended_says_so(run: Run, tmp_path: Path) -> None:
    sweep = run_sweep("quick", results=tmp_path)
    assert sweep.ended_by == "the baseline diverged"
    assert "ended early: the baseline diverged" in repr(sweep)


def test_mistakes_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="planned already, so tokens cannot change; give it to pl"):
        run_sweep(plan_sweep("quick"), tokens=5, results=tmp_path / "runs")
    with pytest.raises(
        ValueError, match="unknown setting 'cell_at_once'; did you mean cells_at_once"
    ):
        run_sweep("quick", cell_at_once=1)
    assert not (tmp_path / "runs").exists()
