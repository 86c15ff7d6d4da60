"""The scheduler that Tune asks: it hands every report to the referee and stops as told."""

from __future__ import annotations

import json
import logging
from typing import Any

from ray.tune import Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from tune_app.journal import Journal
from tune_app.listener import SweepListener
from tune_app.on_ray.report import CELL, ERROR, OBSERVATION, TOKENS, WARNINGS
from tune_app.on_ray.unsaved import Unsaved
from tune_app.records import Action, Failure, FailureClass, Observation, Rule
from tune_app.referee import Referee

logger = logging.getLogger(__name__)


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

    A baseline that fails or diverges halts the sweep: nothing could be compared with it.
    """

    def __init__(
        self, journal: Journal, *, referee: Referee, listener: SweepListener, halt: Halt
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._journal = journal
        self._referee = referee
        self._listener = listener
        self._halt = halt
        self._cells = {cell.key: cell for cell in journal.cells()}

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        key = trial.config[CELL]["key"]
        for warning in result.get(WARNINGS, ()):
            logger.warning("%s: %s", self._cells[key].label, warning)
        if ERROR in result:
            self.fail(key, result[ERROR])
            return str(TrialScheduler.STOP)
        if OBSERVATION not in result:
            self._listener.progressed(self._cells[key], result[TOKENS])
            return str(TrialScheduler.CONTINUE)
        observation = Observation(**json.loads(result[OBSERVATION]))
        decision, new = self._referee.judge(observation)
        if new:
            self._listener.observed(observation, decision)
        if decision is None or decision.action is Action.CONTINUE:
            return str(TrialScheduler.CONTINUE)
        if decision.rule is Rule.DIVERGED and self._referee.is_baseline(key):
            self._halt.reason = f"the baseline diverged: {decision.reason}"
        return str(TrialScheduler.STOP)

    def fail(self, key: str, traceback: str) -> None:
        """Notes that a cell ended in an error, with the traceback of it."""
        failure = self._journal.fail(
            Failure(
                cell=key,
                kind=FailureClass.CODE,
                reason=traceback.strip().splitlines()[-1],
                traceback=traceback,
                ended=True,
            )
        )
        self._listener.cell_failed(failure)
        if self._referee.is_baseline(key):
            self._halt.reason = f"the baseline failed: {failure.reason}"
