"""The scheduler that Tune asks: it hands every report to the referee and stops as told."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from ray.exceptions import RayTaskError
from ray.tune import Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from tune_app.cluster.capacity import ClusterSize
from tune_app.faults.policy import respond, suspicion
from tune_app.journal.full_disk import wait_until_written
from tune_app.journal.journal import Journal
from tune_app.journal.listener import SweepListener
from tune_app.journal.records import DIVERGED, Action, Failure, FailureClass, Observation
from tune_app.on_ray.lost_processes import Pulse, creation_error, diagnose
from tune_app.on_ray.messages import (
    CELL,
    DAMAGED,
    EARLY,
    ERROR,
    HOST,
    KIND,
    OBSERVATION,
    OOM_KILLS,
    PROCESS,
    RESUMED_FROM,
    TOKENS,
    WARNINGS,
)
from tune_app.on_ray.not_pickled import Unsaved
from tune_app.on_ray.trainable import RetryError
from tune_app.stopping.recording_referee import RecordingReferee

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 2.0
"""The journal hears of a cell's progress at most so often."""

CLEANUP_SECONDS = 90.0
"""For a process to save its cell when the sweep is interrupted."""

T = TypeVar("T")


class Halt(Stopper):
    """Ends the whole sweep when it is told a reason."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.reason is not None


class SweepScheduler(Unsaved, FIFOScheduler):
    """Starts cells in their order and ends them by the referee's decisions.

    A baseline that fails or diverges halts the sweep: nothing could be compared with it. A full
    disk holds the sweep at the report that could not be written.

    Args:
        stop_on_error: whether a cell that fails halts the sweep as well.
        cluster: tells which machines train or may come to; None where there is only this one.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        referee: RecordingReferee,
        listener: SweepListener,
        halt: Halt,
        stop_on_error: bool = False,
        cluster: Callable[[], ClusterSize] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._journal = journal
        self._referee = referee
        self._listener = listener
        self._halt = halt
        self._stop_on_error = stop_on_error
        self._cluster = cluster
        self._cells = {cell.key: cell for cell in journal.cells()}
        self._pulses: dict[str, Pulse] = {}
        self._beaten_at: dict[str, float] = {}
        self._given_up: set[str] = set()
        self._suspects: set[str] = set()
        """Machines that were named for failing cells before their first step."""
        self._lost: set[str] = set()
        """Cells whose process was lost and that no other has taken up yet."""

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        # No setting of Tune's: after ten seconds it kills a process that is saving.
        controller = getattr(tune_controller, "_tune_controller", tune_controller)
        assert hasattr(controller, "_actor_force_cleanup_timeout"), "of Ray 2.60.0"
        controller._actor_force_cleanup_timeout = CLEANUP_SECONDS

    def started(self, key: str) -> None:
        """Notes that a process took a cell up."""
        if key in self._given_up:
            return
        self._lost.discard(key)
        # Where it runs now is not known before it reports.
        self._pulses[key] = Pulse(tokens=self._pulse(key).tokens)
        self._written(lambda: self._journal.start_attempt(key))
        self._listener.cell_started(self._journal.cell(key))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        key = trial.config[CELL]["key"]
        for warning in result.get(WARNINGS, ()):
            logger.warning("%s: %s", self._cells[key].label, warning)
        if key in self._given_up:
            # Tune may have taken it up again before it heard that the cell was given up.
            return str(TrialScheduler.STOP)
        if TOKENS not in result:
            self._pulses[key] = replace(
                self._pulse(key),
                host=result[HOST],
                process=result[PROCESS],
                oom_kills=result[OOM_KILLS],
            )
            return str(TrialScheduler.CONTINUE)
        self._beat(key, result)
        if ERROR in result:
            failure = Failure(
                cell=key,
                kind=FailureClass(result[KIND]),
                reason=result[ERROR].strip().splitlines()[-1],
                traceback=result[ERROR],
                ended=True,
                host=result[HOST],
                tokens=self._pulse(key).tokens,
            )
            ended = self._handle(failure, trial, early=result[EARLY])
            return str(TrialScheduler.STOP if ended else TrialScheduler.CONTINUE)
        if OBSERVATION not in result:
            self._listener.progressed(self._cells[key], result[TOKENS])
            return str(TrialScheduler.CONTINUE)
        return self._judge(key, Observation.from_values(json.loads(result[OBSERVATION])))

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """A process was lost, or ended itself to be started again."""
        key = trial.config[CELL]["key"]
        error = creation_error(trial) or trial.get_pickled_error()
        if isinstance(error, RayTaskError) and isinstance(error.cause, RetryError):
            return
        if error is None and key in self._lost:
            # Tune tells twice of a process that is lost between two cells.
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

    def _judge(self, key: str, observation: Observation) -> str:
        decision, new = self._referee.judge(observation)
        if new:
            self._listener.observed(observation, decision)
        if decision is None or decision.action in (Action.CONTINUE, Action.PROMOTE):
            return str(TrialScheduler.CONTINUE)
        if decision.action is Action.PAUSE:
            # Its turn comes again when the others have had theirs (`run_cells`), and a pause that
            # it meets again on the stretch since its checkpoint has been made already.
            return str(TrialScheduler.STOP if new else TrialScheduler.CONTINUE)
        if decision.rule == DIVERGED and self._referee.curves.is_baseline(key):
            self._halt.reason = f"the baseline diverged: {decision.reason}"
        return str(TrialScheduler.STOP)

    def _handle(self, failure: Failure, trial: Trial, *, early: bool) -> bool:
        """Decides about a failure and writes it down; whether it ends the cell."""
        key = failure.cell
        size = None if self._cluster is None else self._cluster()
        response = respond(
            failure,
            self._journal.failures(key),
            batch_size=self._cells[key].values["batch_size"],
            stride=self._pulse(key).stride,
            early=early,
            hosts=None if size is None else size.hosts,
            hosts_now=1 if size is None else len({machine.name for machine in size.now}),
        )
        written: Failure = self._written(lambda: self._journal.fail(response.failure))
        self._listener.cell_failed(written)
        if early:
            self._name_a_suspect(written.host)
        if response.micro_batch_size is not None:
            trial.config[CELL]["micro_batch_size"] = response.micro_batch_size
        if not written.ended:
            return False
        self._given_up.add(key)
        if self._referee.curves.is_baseline(key):
            self._halt.reason = f"the baseline failed: {written.reason}"
        elif self._stop_on_error:
            self._halt.reason = f"{self._cells[key].label} failed: {written.reason}"
        return True

    def _name_a_suspect(self, host: str) -> None:
        """Says once of a machine that it fails cells before their first step."""
        machine = host.rpartition("/")[0]
        if machine in self._suspects:
            return
        doubt = suspicion(self._journal.failures(), host)
        if doubt is not None:
            self._suspects.add(machine)
            logger.warning("%s", doubt)

    def _beat(self, key: str, result: dict[str, Any]) -> None:
        """Notes a sign of life; an attempt's first one says what it goes on from."""
        host, tokens = result[HOST], result[TOKENS]
        before = self._pulse(key)
        # The first report of an attempt comes from its checkpoint, not from the report before.
        gone_on = 0 if RESUMED_FROM in result else tokens - before.tokens
        self._pulses[key] = Pulse(
            host=host,
            process=result[PROCESS],
            tokens=tokens,
            stride=max(before.stride, gone_on),
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
        self._written(lambda: self._journal.fail(failure))

    def _pulse(self, key: str) -> Pulse:
        return self._pulses.get(key, Pulse())

    def _written(self, write: Callable[[], T]) -> T:
        return wait_until_written(write, still_wanted=lambda: self._halt.reason is None)
