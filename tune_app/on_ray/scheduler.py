"""Tune's scheduler: passes every report to the referee and carries out its decisions."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from ray.exceptions import RayTaskError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from model.training.settings import wished_at_once
from tune_app.cluster.capacity import ClusterSize
from tune_app.cluster.purse import Purse
from tune_app.faults.policy import respond, suspicion
from tune_app.journal.full_disk import wait_until_written
from tune_app.journal.journal import Journal
from tune_app.journal.listener import SweepListener
from tune_app.journal.records import (
    DIVERGED,
    Action,
    Decision,
    Failure,
    FailureClass,
    Observation,
    Place,
    Status,
)
from tune_app.on_ray.cell_queue import CellQueue
from tune_app.on_ray.halt import Halt
from tune_app.on_ray.lost_processes import Pulse, diagnose, of_creation, take_error
from tune_app.on_ray.messages import (
    CELL,
    CHECKPOINT,
    DAMAGED,
    EAGER,
    EARLY,
    ERROR,
    FORMER,
    GPU,
    HOST,
    KIND,
    OBSERVATION,
    OOM_KILLS,
    PROCESS,
    REASON,
    RESUMED_FROM,
    STORING,
    TOKENS,
    UNPRUNED,
    WARNINGS,
    WORKER,
)
from tune_app.on_ray.not_pickled import Unsaved
from tune_app.on_ray.trainable import RetryError
from tune_app.stopping.recording_referee import RecordingReferee
from tune_app.trial.checkpoints import Superseding

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 2.0
"""Minimum time between two heartbeats of a cell in the journal."""

CLEANUP_SECONDS = 90.0
"""Time for a process to save its cell when the sweep is interrupted."""

T = TypeVar("T")


class SweepScheduler(Unsaved, FIFOScheduler):
    """Starts cells in order; ends, pauses and promotes them by the referee's decisions.

    New cells start first, then those that were promoted. Once none runs and none is promoted, what
    is paused stays paused.

    A cell that is trained gives its process to the next one while its model is being stored. It has
    not ended until that is done: the process then reports it beside the next cell. If the process
    is lost before, `run_cells` starts the cell again, which repeats what its newest checkpoint
    lacks.

    If the baseline fails or diverges, the sweep ends, because nothing can be compared. If the disk
    is full, the sweep waits at the report that could not be written.

    Args:
        queue: names the cells to Tune.
        in_all: how many cells it names.
        checkpoint_url: from the name of a checkpoint in the store to what the journal records.
        prune: removes what a checkpoint supersedes, where the trial may not; given the cell's key,
            and returns at once.
        stop_on_error: whether any failed cell ends the sweep too.
        cluster: returns the machines that train now or may be added; None for this machine only.
        purse: knows what machines cost; None if nothing is recorded of it.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        referee: RecordingReferee,
        listener: SweepListener,
        halt: Halt,
        queue: CellQueue | None = None,
        in_all: int = 0,
        checkpoint_url: Callable[[str], str] = str,
        prune: Callable[[str, Superseding], object] = lambda key, after: None,
        stop_on_error: bool = False,
        cluster: Callable[[], ClusterSize] | None = None,
        purse: Purse | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._journal = journal
        self._referee = referee
        self._listener = listener
        self._halt = halt
        self._queue = queue or CellQueue(at_once=1)
        self._in_all = in_all
        self._given = False
        """Whether a cell has given its process to another one, which has not started yet."""
        self._checkpoint_url = checkpoint_url
        self._prune = prune
        self._stop_on_error = stop_on_error
        self._cluster = cluster
        self._purse = purse
        self._placed: dict[str, Place] = {}
        """Where each cell's attempt is, as the journal has it."""
        self._controller: Any = None
        self._cells = {cell.key: cell for cell in journal.cells()}
        self._checkpoints = journal.checkpoints()
        self._trials: dict[str, Trial] = {}
        self._due: list[str] = []
        """Cells that were promoted and have not been started again."""
        self._pulses: dict[str, Pulse] = {}
        self._beaten_at: dict[str, float] = {}
        self._eager: dict[str, set[str]] = {}
        """By cell: the reasons for training eager that the journal has."""
        self._given_up: set[str] = set()
        self._suspects: set[str] = set()
        """Machines already warned about because cells fail there before their first step."""
        self._lost: set[str] = set()
        """Cells whose process was lost and that have not been started again yet."""

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        key = trial.config[CELL]["key"]
        self._trials[key] = trial
        if self._cells[key].status is Status.PAUSED:
            # Before Tune has put it among those that it starts.
            trial.set_status(Trial.PAUSED)  # type: ignore[no-untyped-call]
            # Tune asks every trial for its folder at the end, also one that never started.
            trial.init_local_path()  # type: ignore[no-untyped-call]
            self._queue.pause(trial.trial_id)
        # Tune kills a process that is still saving after ten seconds, and has no setting for it.
        self._controller = getattr(tune_controller, "_tune_controller", tune_controller)
        assert hasattr(self._controller, "_actor_force_cleanup_timeout"), "of Ray 2.60.0"
        # A process that never started has nothing to save: a sweep of such cells ends at once.
        seconds = CLEANUP_SECONDS if self._pulses else 0.0
        self._controller._actor_force_cleanup_timeout = seconds

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        trials: list[Trial] = tune_controller.get_trials()
        for trial in trials:
            if trial.status == Trial.PENDING:
                return trial
        for key in self._due:
            due = self._trials.get(key)
            # Tune may not have been told of it yet.
            if due is None or due.status != Trial.PAUSED:
                continue
            if self._queue.resume(due.trial_id):
                self._due.remove(key)
                return due
        if not self._due and self._queue.idle:
            for trial in trials:
                if trial.status == Trial.PAUSED:
                    tune_controller.stop_trial(trial)
        return None

    def started(self, key: str) -> None:
        """Records that a process has started a cell."""
        if self._controller is not None:
            self._controller._actor_force_cleanup_timeout = CLEANUP_SECONDS
        self._given = False
        if key in self._given_up:
            return
        self._lost.discard(key)
        self._placed.pop(key, None)
        # Its host is unknown until its first report.
        self._pulses[key] = Pulse(tokens=self._pulse(key).tokens)
        self._written(lambda: self._journal.start_attempt(key))
        self._listener.cell_started(self._journal.cell(key))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        key = trial.config[CELL]["key"]
        for warning in result.get(WARNINGS, ()):
            logger.warning("%s: %s", self._cells[key].label, warning)
        if (former := result.get(FORMER)) is not None:
            self._end_former(json.loads(former), tune_controller)
        if key in self._given_up:
            # Tune may have started it again before it learned that the cell was given up.
            return str(TrialScheduler.STOP)
        self._place(key, result)
        if TOKENS not in result:
            self._pulses[key] = replace(
                self._pulse(key),
                host=result[HOST],
                process=result[PROCESS],
                oom_kills=result[OOM_KILLS],
            )
            return str(TrialScheduler.CONTINUE)
        self._beat(key, result)
        self._note_stored(key, result)
        if eager := result.get(EAGER):
            self._note_eager(key, eager, result[HOST])
        if ERROR in result:
            failure = Failure(
                cell=key,
                kind=FailureClass(result[KIND]),
                reason=result[REASON],
                traceback=result[ERROR],
                ended=True,
                host=result[HOST],
                tokens=self._pulse(key).tokens,
            )
            ended = self._handle(failure, trial, early=result[EARLY])
            return str(TrialScheduler.STOP if ended else TrialScheduler.CONTINUE)
        if OBSERVATION not in result:
            self._listener.progressed(self._cells[key], result[TOKENS])
            if result.get(STORING) and self._another_waits(tune_controller):
                self._given = True
                self._written(lambda: self._journal.end_attempt(key))
                return str(TrialScheduler.STOP)
            return str(TrialScheduler.CONTINUE)
        observation = Observation.from_values(json.loads(result[OBSERVATION]))
        return self._judge(observation, tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Called when a process was lost, or ended itself in order to be restarted."""
        key = trial.config[CELL]["key"]
        error = take_error(trial)
        if isinstance(error, RayTaskError) and isinstance(error.cause, RetryError):
            return
        if key in self._lost and not of_creation(error):
            # Tune reports a process lost between two cells twice.
            return
        self._lost.add(key)
        pulse = self._pulse(key)
        loss = diagnose(error, pulse)
        failure = Failure(
            cell=key,
            kind=loss.kind,
            reason=loss.reason,
            traceback=str(error or ""),
            ended=False,
            host=loss.host or pulse.host,
            tokens=pulse.tokens,
            cause=loss.cause,
        )
        if self._handle(failure, trial, early=loss.early):
            tune_controller.request_stop_trial(trial)

    def _another_waits(self, tune_controller: Any) -> bool:
        """Whether a process that becomes free is given another cell for certain.

        One at a time: Tune keeps one process that is free until a cell takes it, and ends others.
        """
        named = sum(one.status == Trial.PENDING for one in tune_controller.get_trials())
        unnamed = self._in_all - len(self._trials)
        return not self._given and named + unnamed + len(self._due) > 0

    def _end_former(self, message: Mapping[str, Any], tune_controller: Any) -> None:
        """Takes the last report of a cell that has given its process to another one."""
        observation = Observation.from_values(message[OBSERVATION])
        self._note_stored(observation.cell, message)
        self._judge(observation, tune_controller, self._trials[observation.cell])

    def _judge(self, observation: Observation, tune_controller: Any, trial: Trial) -> str:
        key = observation.cell
        ruling = self._referee.judge(observation)
        decision = ruling.decision
        if ruling.new:
            self._listener.observed(observation, decision)
        self._promote(ruling.promoted)
        if decision is None or decision.action in (Action.CONTINUE, Action.PROMOTE):
            return str(TrialScheduler.CONTINUE)
        if decision.action is Action.PAUSE:
            if not ruling.new:
                # Promoted since, it repeats the tokens after an older checkpoint.
                return str(TrialScheduler.CONTINUE)
            # With PAUSE itself Tune would save, in a folder that workers need not share; the trial
            # has taken a checkpoint of its own.
            tune_controller.pause_trial(trial, should_checkpoint=False)
            self._queue.pause(trial.trial_id)
            return str(TrialScheduler.NOOP)
        if decision.rule == DIVERGED and self._referee.curves.is_baseline(key):
            self._halt.lose(f"the baseline diverged: {decision.reason}")
        return str(TrialScheduler.STOP)

    def _promote(self, promoted: Iterable[Decision]) -> None:
        for decision in promoted:
            if decision.action is Action.PROMOTE:
                self._due.append(decision.cell)
                self._listener.promoted(decision)

    def _handle(self, failure: Failure, trial: Trial, *, early: bool) -> bool:
        """Decides on a failure and records it. Returns whether it ends the cell."""
        key = failure.cell
        size = None if self._cluster is None else self._cluster()
        response = respond(
            failure,
            self._journal.failures(key),
            batch_size=self._cells[key].values["batch_size"],
            at_once=wished_at_once(self._cells[key].values),
            stride=self._pulse(key).stride,
            early=early,
            hosts=None if size is None else size.hosts,
            hosts_now=1 if size is None else len({machine.name for machine in size.now}),
        )
        written: Failure = self._written(lambda: self._journal.fail(response.failure))
        self._listener.cell_failed(written)
        if early:
            self._warn_about(written.host)
        if response.micro_batch_size is not None:
            trial.config[CELL]["micro_batch_size"] = response.micro_batch_size
        if not written.ended:
            return False
        self._given_up.add(key)
        self._promote(self._referee.leave(key))
        if self._referee.curves.is_baseline(key):
            self._halt.lose(f"the baseline failed: {written.reason}")
        elif self._stop_on_error:
            self._halt.lose(f"{self._cells[key].label} failed: {written.reason}")
        return True

    def _warn_about(self, host: str) -> None:
        """Warns once about a machine on which cells fail before their first step."""
        machine = host.rpartition("/")[0]
        if machine in self._suspects:
            return
        doubt = suspicion(self._journal.failures(), host)
        if doubt is not None:
            self._suspects.add(machine)
            logger.warning("%s", doubt)

    def _beat(self, key: str, result: dict[str, Any]) -> None:
        """Records a heartbeat; the first of an attempt says where it resumed from."""
        host, tokens = result[HOST], result[TOKENS]
        before = self._pulse(key)
        # The first report of an attempt starts at its checkpoint, not at the previous report.
        stride = 0 if RESUMED_FROM in result else tokens - before.tokens
        self._pulses[key] = Pulse(
            host=host,
            process=result[PROCESS],
            tokens=tokens,
            stride=max(before.stride, stride),
            oom_kills=result[OOM_KILLS],
        )
        if RESUMED_FROM in result:
            resumed_from = result[RESUMED_FROM]
            self._written(lambda: self._journal.resumed(key, resumed_from, host=host))
            for damage in result[DAMAGED]:
                self._note_damage(key, damage, resumed_from, host)
        now = time.monotonic()
        if now - self._beaten_at.get(key, -HEARTBEAT_SECONDS) >= HEARTBEAT_SECONDS:
            self._beaten_at[key] = now
            self._written(lambda: self._journal.beat(key, tokens, host))

    def _place(self, key: str, result: dict[str, Any]) -> None:
        """Records the machine that an attempt is on; a rented one again once it is on the bill."""
        known = self._placed.get(key)
        if self._purse is None or (
            known is not None and (known.worker is None or known.contract is not None)
        ):
            return
        place = self._purse.place(
            worker=result.get(WORKER),
            machine=result[HOST].rpartition("/")[0],
            gpu=result.get(GPU, ""),
        )
        if place != known:
            self._placed[key] = place
            self._written(lambda: self._journal.place(key, place))

    def _note_stored(self, key: str, message: Mapping[str, Any]) -> None:
        """Records a cell's newest checkpoint, and has what it supersedes removed."""
        name, unpruned = message.get(CHECKPOINT), message.get(UNPRUNED)
        if name is not None and self._keep(key, name) and unpruned is not None:
            self._prune(key, Superseding.from_json(unpruned))

    def _keep(self, key: str, name: str) -> bool:
        """Records a cell's newest checkpoint; returns whether it is another than before."""
        url = self._checkpoint_url(name)
        if self._checkpoints.get(key) == url:
            return False
        self._checkpoints[key] = url
        self._written(lambda: self._journal.keep(key, url))
        return True

    def _note_eager(self, key: str, reason: str, host: str) -> None:
        """Records that a cell trains eager, once for each reason."""
        known = self._eager.setdefault(
            key, {one.reason for one in self._journal.failures(key) if _is_eager(one)}
        )
        if reason in known:
            return
        known.add(reason)
        failure = Failure(
            cell=key,
            kind=FailureClass.COMPILER,
            reason=reason,
            traceback="",
            ended=False,
            host=host,
            tokens=self._pulse(key).tokens,
            remedy="trained eager",
        )
        self._written(lambda: self._journal.fail(failure, ends_attempt=False))

    def _note_damage(self, key: str, damage: str, resumed_from: int, host: str) -> None:
        onward = f"resumed from {resumed_from:,} tokens" if resumed_from else "started again"
        failure = Failure(
            cell=key,
            kind=FailureClass.STORAGE,
            reason=damage,
            traceback="",
            ended=False,
            host=host,
            tokens=self._pulse(key).tokens,
            remedy=onward,
        )
        self._written(lambda: self._journal.fail(failure, ends_attempt=False))

    def _pulse(self, key: str) -> Pulse:
        return self._pulses.get(key, Pulse())

    def _written(self, write: Callable[[], T]) -> T:
        return wait_until_written(write, still_wanted=lambda: self._halt.ending is None)


def _is_eager(failure: Failure) -> bool:
    return failure.kind is FailureClass.COMPILER
