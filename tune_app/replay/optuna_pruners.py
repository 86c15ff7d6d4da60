"""Optuna's pruners on recorded curves: their own code decides, over a study in memory."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tune_app.journal.records import Action
from tune_app.replay.recorded import Recorded
from tune_app.replay.workers import Scheduler

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

GRACE = 0.25
"""Share of a cell's evaluations before which none is pruned, as for our schedulers."""


def pruners() -> tuple[str, ...]:
    return ("optuna-median", "optuna-halving", "optuna-hyperband")


class OptunaPruner(Scheduler):
    """A pruner of Optuna in one simulated sweep; steps are numbers of evaluations.

    Optuna knows no baseline, so none is spared. A pruned cell is stopped for good.
    """

    def __init__(
        self, name: str, recorded: Recorded, given: Mapping[str, Any], chance: random.Random
    ) -> None:
        import optuna  # noqa: PLC0415 - takes a second

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        evaluations = max(len(curve.points) for curve in recorded.curves)
        # Hyperband draws a trial's bracket from the name of its study, which would be another one
        # in every process.
        self._study = optuna.create_study(
            study_name=f"replay {chance.getrandbits(64):016x}",
            pruner=_pruner(name, evaluations, given),
        )
        self._scores = {
            curve.cell.key: [point.score for point in curve.points] for curve in recorded.curves
        }
        self._trials: dict[str, Any] = {}

    def judge(self, cell: str, at: int) -> Action:
        import optuna  # noqa: PLC0415

        if cell not in self._trials:
            self._trials[cell] = self._study.ask()
        trial = self._trials[cell]
        trial.report(self._scores[cell][at], at + 1)
        if trial.should_prune():
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return Action.STOP
        if at + 2 == len(self._scores[cell]):
            self._study.tell(trial, self._scores[cell][-1])
        return Action.CONTINUE


def _pruner(name: str, evaluations: int, given: Mapping[str, Any]) -> BasePruner:
    """Raises ValueError for a setting that the pruner does not have."""
    from optuna import pruners as theirs  # noqa: PLC0415

    grace = max(1, round(GRACE * evaluations))
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "optuna-median": (
            theirs.MedianPruner,
            {"n_startup_trials": 4, "n_warmup_steps": grace - 1},
        ),
        "optuna-halving": (
            theirs.SuccessiveHalvingPruner,
            {"min_resource": grace, "reduction_factor": 2},
        ),
        "optuna-hyperband": (
            theirs.HyperbandPruner,
            {"min_resource": grace, "max_resource": evaluations, "reduction_factor": 2},
        ),
    }
    kind, usual = kinds[name]
    try:
        built: BasePruner = kind(**{**usual, **given})
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from None
    return built
