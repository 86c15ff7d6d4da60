"""The scheduler carries the referee's decisions out; no Ray is started for it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.train._internal import storage
from ray.tune.error import TuneError
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from tests.tune_app.sweeps import TOKENS, new_journal, observe
from tune_app.journal.endings import Ending, EndKind
from tune_app.journal.journal import Journal
from tune_app.journal.listener import QuietListener
from tune_app.journal.records import Action, FailureClass, Observation, Status
from tune_app.on_ray.cell_queue import CellQueue
from tune_app.on_ray.halt import Halt
from tune_app.on_ray.messages import (
    CELL,
    CHECKPOINT,
    EAGER,
    FORMER,
    HOST,
    OBSERVATION,
    OOM_KILLS,
    PROCESS,
    STORING,
    UNPRUNED,
)
from tune_app.on_ray.messages import TOKENS as TRAINED
from tune_app.on_ray.scheduler import CLEANUP_SECONDS, SweepScheduler
from tune_app.on_ray.trainable import RetryError
from tune_app.results.caveats import caveats
from tune_app.results.summary import summarise
from tune_app.stopping.curves import Curves
from tune_app.stopping.recording_referee import RecordingReferee
from tune_app.stopping.rule import Verdict
from tune_app.trial.checkpoints import Superseding


class At250:
    """Does the same to every cell at 250 tokens."""

    def __init__(self, action: Action) -> None:
        self._action = action

    def judge(self, curves: Curves, observation: Observation) -> Verdict | None:
        return (
            Verdict(action=self._action, reason="so it is") if observation.tokens == 250 else None
        )


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return new_journal(tmp_path / "journal.sqlite3")


class Sweep:
    """A scheduler with one rule, told what trials report."""

    def __init__(self, journal: Journal, action: Action, *, in_all: int = 0) -> None:
        self.halt = Halt()
        self.paused: list[Any] = []
        self.pruned: list[tuple[str, Superseding]] = []
        self._scheduler = SweepScheduler(
            journal,
            referee=RecordingReferee(journal, {"rule": At250(action)}),
            listener=QuietListener(),
            halt=self.halt,
            in_all=in_all,
            checkpoint_url=lambda name: f"checkpoints/{name}",
            prune=lambda key, after: self.pruned.append((key, after)),
        )

    def report(
        self,
        observation: Observation,
        *,
        checkpoint: str | None = None,
        unpruned: str | None = None,
        eager: str = "",
    ) -> str:
        """What Tune is told to do with the trial."""
        trial: Any = SimpleNamespace(config={CELL: {"key": observation.cell}}, trial_id="1")
        controller: Any = SimpleNamespace(
            pause_trial=lambda trial, should_checkpoint: self.paused.append(
                (trial, should_checkpoint)
            )
        )
        report = {
            HOST: "host/1",
            PROCESS: 1,
            OOM_KILLS: 0,
            TRAINED: observation.tokens,
            CHECKPOINT: checkpoint,
            UNPRUNED: unpruned,
            EAGER: eager,
            OBSERVATION: json.dumps(observation.to_values()),
        }
        return self._scheduler.on_trial_result(controller, trial, report)


def test_only_what_has_started_gets_time_to_save(journal: Journal) -> None:
    scheduler = Sweep(journal, Action.STOP)._scheduler
    controller = SimpleNamespace(_actor_force_cleanup_timeout=10)
    cell = journal.cells()[0].key
    trial: Any = SimpleNamespace(config={CELL: {"key": cell}})
    scheduler.on_trial_add(SimpleNamespace(_tune_controller=controller), trial)
    assert controller._actor_force_cleanup_timeout == 0.0
    scheduler.started(cell)
    assert controller._actor_force_cleanup_timeout == CLEANUP_SECONDS


def test_a_trial_that_may_remove_nothing_is_pruned_for_once_a_checkpoint(journal: Journal) -> None:
    cell = journal.cells()[1].key
    sweep = Sweep(journal, Action.STOP)
    second = Superseding(newest=f"{cell}/2.pt", keep=2, damaged=(f"{cell}/1",))
    for tokens, name, unpruned in (
        (50, f"{cell}/1.pt", None),
        (100, second.newest, second.json),
        (110, second.newest, second.json),
    ):
        sweep.report(observe(cell, tokens, 1.0), checkpoint=name, unpruned=unpruned)
    assert sweep.pruned == [(cell, second)]


def test_decisions_become_what_tune_is_told(journal: Journal) -> None:
    _, cell, other = (cell.key for cell in journal.cells())
    sweep = Sweep(journal, Action.STOP)
    assert sweep.report(observe(cell, 125, 1.0)) == TrialScheduler.CONTINUE
    assert sweep.report(observe(cell, 250, 1.0)) == TrialScheduler.STOP
    assert journal.cell(cell).status is Status.STOPPED
    assert sweep.report(observe(other, TOKENS, 1.0, whole=1.0)) == TrialScheduler.STOP
    assert journal.cell(other).status is Status.FINISHED
    assert sweep.halt.ending is None


def test_the_newest_checkpoint_of_a_cell_is_recorded(journal: Journal) -> None:
    _, cell, _ = (cell.key for cell in journal.cells())
    sweep = Sweep(journal, Action.CONTINUE)
    sweep.report(observe(cell, 125, 1.0), checkpoint="cell/100-ab.pt")
    sweep.report(observe(cell, 250, 1.0), checkpoint="cell/200-cd.pt")
    sweep.report(observe(cell, 375, 1.0))
    assert journal.checkpoints() == {cell: "checkpoints/cell/200-cd.pt"}


def test_that_a_cell_trains_eager_is_recorded_once(journal: Journal) -> None:
    _, cell, _ = (cell.key for cell in journal.cells())
    for scheduler in (Sweep(journal, Action.CONTINUE), Sweep(journal, Action.CONTINUE)):
        scheduler.report(observe(cell, 125, 1.0), eager="torch.compile failed: no Python.h")
        scheduler.report(observe(cell, 250, 1.0), eager="torch.compile failed: no Python.h")
    (failure,) = journal.failures()
    assert (failure.kind, failure.ended) == (FailureClass.COMPILER, False)
    assert failure.reason == "torch.compile failed: no Python.h"
    assert "1 of 3 cells trained eager" in " ".join(caveats(summarise(journal)))


def test_a_cell_whose_model_is_being_stored_gives_its_process_to_one_that_waits(
    journal: Journal,
) -> None:
    _, cell, other = (cell.key for cell in journal.cells())
    journal.begin_run()
    sweep = Sweep(journal, Action.CONTINUE, in_all=2)
    trials = {
        key: SimpleNamespace(config={CELL: {"key": key}}, trial_id=key, status=Trial.RUNNING)
        for key in (cell, other)
    }
    named = [trials[cell]]
    controller: Any = SimpleNamespace(get_trials=lambda: named)
    sweep._scheduler._trials = dict(trials)  # type: ignore[arg-type]
    sweep._scheduler.started(cell)

    def report(key: str, **facts: Any) -> str:
        beat = {HOST: "host/1", PROCESS: 1, OOM_KILLS: 0, TRAINED: TOKENS, **facts}
        return sweep._scheduler.on_trial_result(controller, trials[key], beat)  # type: ignore[arg-type]

    assert report(cell, **{STORING: True}) == TrialScheduler.CONTINUE, "nobody waits"
    named.append(SimpleNamespace(status=Trial.PENDING))
    assert report(cell, **{STORING: False}) == TrialScheduler.CONTINUE
    assert report(cell, **{STORING: True}) == TrialScheduler.STOP
    assert journal.cell(cell).status is Status.RUNNING, "it has not ended yet"
    (attempt,) = journal.attempts(cell)
    assert attempt.ended_at is not None, "it occupies no process any more"
    assert report(other, **{STORING: True}) == TrialScheduler.CONTINUE, "one waits, one is free"
    sweep._scheduler.started(other)
    late = {
        CELL: cell,
        OBSERVATION: observe(cell, TOKENS, 1.0, whole=1.0).to_values(),
        CHECKPOINT: f"{cell}/1.pt",
        UNPRUNED: None,
    }
    assert report(other, **{FORMER: json.dumps(late)}) == TrialScheduler.CONTINUE
    assert journal.cell(cell).status is Status.FINISHED
    assert journal.checkpoints() == {cell: f"checkpoints/{cell}/1.pt"}


def test_a_paused_cell_leaves_its_place_and_passes_the_pause_the_next_time(
    journal: Journal,
) -> None:
    _, cell, _ = (cell.key for cell in journal.cells())
    sweep = Sweep(journal, Action.PAUSE)
    assert sweep.report(observe(cell, 250, 1.0)) == TrialScheduler.NOOP
    assert len(sweep.paused) == 1
    assert journal.cell(cell).status is Status.PAUSED
    # Its turn comes again, from a checkpoint that lies before the pause.
    again = Sweep(journal, Action.PAUSE)
    assert again.report(observe(cell, 250, 1.0)) == TrialScheduler.CONTINUE
    assert again.report(observe(cell, 375, 1.0)) == TrialScheduler.CONTINUE


def test_a_baseline_that_diverges_halts_the_sweep_and_another_cell_does_not(
    journal: Journal,
) -> None:
    baseline, cell, _ = (cell.key for cell in journal.cells())
    sweep = Sweep(journal, Action.CONTINUE)
    assert sweep.report(observe(cell, 250, math.nan)) == TrialScheduler.STOP
    assert sweep.halt.ending is None
    assert sweep.report(observe(baseline, 250, math.inf)) == TrialScheduler.STOP
    told = "the baseline diverged: bits per byte is inf at 250 tokens"
    assert sweep.halt.ending == Ending(kind=EndKind.LOST, reason=told)


def test_promoted_cells_start_after_new_ones_and_what_is_left_paused_ends(journal: Journal) -> None:
    keys = [cell.key for cell in journal.cells()]
    queue = CellQueue(at_once=1)
    scheduler = SweepScheduler(
        journal,
        referee=RecordingReferee(journal, {}),
        listener=QuietListener(),
        halt=Halt(),
        queue=queue,
    )
    stopped: list[str] = []
    trials = [
        SimpleNamespace(config={CELL: {"key": key}}, trial_id=key, status=Trial.PAUSED)
        for key in keys[:2]
    ]
    controller: Any = SimpleNamespace(
        get_trials=lambda: trials, stop_trial=lambda trial: stopped.append(trial.trial_id)
    )
    for trial in trials:
        scheduler._trials[trial.trial_id] = trial  # type: ignore[assignment]
        queue.pause(trial.trial_id)
    new = SimpleNamespace(config={CELL: {"key": keys[2]}}, trial_id=keys[2], status=Trial.PENDING)
    trials.append(new)
    queue._live_trials.add(new.trial_id)
    scheduler._due.append(keys[1])
    assert scheduler.choose_trial_to_run(controller) is new
    new.status = Trial.RUNNING
    assert scheduler.choose_trial_to_run(controller) is None, "there is room for one cell"
    queue.on_trial_complete(new.trial_id)
    queue.set_finished()  # type: ignore[no-untyped-call]
    assert not queue.is_finished(), "processes are kept for those that are paused"
    new.status = Trial.TERMINATED
    assert scheduler.choose_trial_to_run(controller) is trials[1]
    assert stopped == []
    trials[1].status = Trial.RUNNING
    queue.on_trial_complete(keys[1])
    trials[1].status = Trial.TERMINATED
    assert scheduler.choose_trial_to_run(controller) is None
    assert stopped == [keys[0]], "nothing runs, and nothing is promoted"


def test_a_cell_that_is_paused_in_the_journal_is_not_started(journal: Journal) -> None:
    cell = journal.cells()[1].key
    Sweep(journal, Action.PAUSE).report(observe(cell, 250, 1.0))
    again = Sweep(journal, Action.CONTINUE)._scheduler
    statuses: list[str] = []
    trial: Any = SimpleNamespace(
        config={CELL: {"key": cell}},
        trial_id=cell,
        set_status=statuses.append,
        init_local_path=lambda: None,
    )
    again.on_trial_add(SimpleNamespace(_actor_force_cleanup_timeout=10), trial)
    assert statuses == [Trial.PAUSED]


def test_an_attempt_that_ended_itself_is_no_lost_process(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where Ray, if it ran, would have Tune write what it hands over to its snapshots.
    monkeypatch.setattr(storage, "_get_ray_train_session_dir", lambda: str(tmp_path / "session"))
    scheduler = Sweep(journal, Action.CONTINUE)._scheduler
    cell = journal.cells()[1].key
    trial = Trial(
        "CellTrainable",
        stub=True,
        config={CELL: {"key": cell}},
        storage=storage.StorageContext(str(tmp_path), "sweep", trial_dir_name=cell),
    )
    trial.init_local_path()  # type: ignore[no-untyped-call]

    stopped: list[Trial] = []
    controller: Any = SimpleNamespace(request_stop_trial=stopped.append)

    def fail(error: Exception) -> list[str]:
        """What the journal has of a failure that Tune handles: it writes no copy of the error."""
        before = len(journal.failures())
        trial.handle_error(error)  # type: ignore[arg-type]
        scheduler.on_trial_error(controller, trial)
        return [failure.reason for failure in journal.failures()[before:]]

    retried = RetryError("reported before")
    again = RayTaskError("train", "Traceback", retried).as_instanceof_cause()
    assert fail(again) == []
    assert fail(TuneError("of Tune itself")) == ["the process was lost"], "not the one before"
    scheduler.started(cell)
    assert fail(again) == []
    died = ActorDiedError()
    (reason,) = fail(died)
    assert reason.startswith("ActorDiedError: The actor died")
    assert fail(died) == [], "Tune reports one lost between two cells twice"
    creation = RayTaskError("__init__", "Traceback\nModuleNotFoundError: No module 'x'", retried)
    assert fail(ActorDiedError(creation)) == ["ModuleNotFoundError: No module 'x'"]
    assert stopped == [trial]
