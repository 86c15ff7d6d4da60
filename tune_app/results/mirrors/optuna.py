"""The sweep as an Optuna study in SQLite: kept live, and rebuilt from the journal.

    optuna-dashboard sqlite:///runs/NAME/optuna.sqlite3

One trial per cell, numbered like the sweep's cells. Steps are baseline tokens, intermediate values
are bits per byte on the sample of dev documents. A finished cell is COMPLETE, with its bits per
byte on the full dev split. A stopped one is PRUNED and has no value, because Optuna would rank its
last one. Failed and infeasible ones are FAIL; the reason is a user attribute.

The study is only a view of the journal. Anything else written into it is lost when it is rebuilt.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tune_app.journal.journal import Journal
from tune_app.journal.listener import QuietListener
from tune_app.journal.records import CellRecord, Decision, Failure, Observation, Status
from tune_app.plan.labels import ordered
from tune_app.results.designs import CellResult
from tune_app.results.mirrors.optuna_rows import insert_trials
from tune_app.results.mirrors.optuna_url import optuna_url
from tune_app.results.summary import SweepResults, summarise
from tune_app.results.verdict import verdict

logger = logging.getLogger(__name__)

_STATES = {
    Status.PENDING: TrialState.WAITING,
    Status.RUNNING: TrialState.RUNNING,
    Status.INTERRUPTED: TrialState.WAITING,
    Status.LEFT_OUT: TrialState.WAITING,
    Status.FINISHED: TrialState.COMPLETE,
    Status.STOPPED: TrialState.PRUNED,
    Status.PAUSED: TrialState.PRUNED,
    Status.FAILED: TrialState.FAIL,
    Status.INFEASIBLE: TrialState.FAIL,
}
_PATIENCE = 30.0
"""Seconds to wait for a study that another process has locked, once all cells have ended."""
_PATIENCE_LIVE = 1.0
"""Seconds to wait for it while cells are training: the driver does nothing else meanwhile."""
_LOOK_AGAIN = 10.0
"""Seconds until a running sweep looks whether a locked study is free again."""
_METRIC_NAMES = "study:metric_names"
"""System attribute in which Optuna keeps the name of the value for its plots."""


class OptunaLockedError(sqlite3.OperationalError):
    """Another process has the study locked; nothing was changed in it."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is locked by another process; close it there")


def write_optuna(journal: Journal, path: Path) -> None:
    """Rebuilds the study at `path` from the journal.

    An existing study is overwritten in one transaction, not replaced by another file, so that an
    open dashboard stays up to date. Raises OptunaLockedError if another process keeps it locked for
    30 seconds.
    """
    _rebuild(journal, path, patience=_PATIENCE, tell=True)


class OptunaListener(QuietListener):
    """Keeps the study up to date while the sweep runs.

    While another process has the study locked, the sweep goes on and the study stays behind. It is
    rebuilt from the journal once it is free.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._journal: Journal | None = None
        self._storage: RDBStorage | None = None
        self._trials: dict[str, int] = {}
        self._look_at = 0.0
        """When to look again whether the study is free; it stays behind until then."""
        self._told = False

    def sweep_started(self, journal: Journal) -> None:
        self._journal = journal
        self._keep_up(self._attach)

    def cell_started(self, cell: CellRecord) -> None:
        self._keep_up(lambda: self._start(cell.key))

    def observed(self, observation: Observation, decision: Decision | None) -> None:
        self._keep_up(lambda: self._observe(observation, decision))

    def cell_failed(self, failure: Failure) -> None:
        if failure.ended:
            self._keep_up(lambda: self._end(failure.cell))

    def sweep_ended(self) -> None:
        self._close()

    def _keep_up(self, update: Callable[[], None]) -> None:
        """Makes the update; all that were missed, if the study was locked and is free again."""
        if self._look_at:
            if time.monotonic() < self._look_at:
                return
            update = self._attach
        try:
            update()
            self._look_at = 0.0
        except Exception as error:
            if not _is_locked(error):
                raise
            self._close()
            self._look_at = time.monotonic() + _LOOK_AGAIN
            if not self._told:
                self._told = True
                logger.warning(
                    "%s is locked by another process; it is brought up to date when it is free",
                    self._path,
                )

    def _attach(self) -> None:
        assert self._journal is not None
        _rebuild(self._journal, self._path, patience=_PATIENCE_LIVE, tell=False)
        self._storage = _open(self._path, timeout=_PATIENCE_LIVE)
        (study,) = self._storage.get_all_studies()
        self._trials = {
            trial.user_attrs["key"]: trial._trial_id
            for trial in self._storage.get_all_trials(study._study_id, deepcopy=False)
        }

    def _start(self, key: str) -> None:
        assert self._storage is not None
        trial = self._trials[key]
        state = self._storage.get_trial(trial).state
        if state.is_finished():
            # Optuna cannot reopen a trial, so rebuild the study from the journal.
            self._close()
            self._attach()
        elif state is TrialState.WAITING:
            self._storage.set_trial_state_values(trial, TrialState.RUNNING)
            self._storage.set_trial_user_attr(trial, "status", Status.RUNNING.value)

    def _observe(self, observation: Observation, decision: Decision | None) -> None:
        assert self._storage is not None
        trial = self._trials[observation.cell]
        self._storage.set_trial_intermediate_value(
            trial, observation.baseline_tokens, observation.bits_per_byte
        )
        if decision is not None and decision.action.ends:
            self._end(observation.cell)

    def _end(self, key: str) -> None:
        """Ends the trial in the state that a rebuilt study would have."""
        assert self._storage is not None and self._journal is not None
        (result,) = [cell for cell in summarise(self._journal).cells if cell.cell.key == key]
        trial = self._trials[key]
        for name, value in _attributes(result).items():
            self._storage.set_trial_user_attr(trial, name, value)
        state, value = _outcome(result)
        self._storage.set_trial_state_values(trial, state, None if value is None else [value])

    def _close(self) -> None:
        if self._storage is not None:
            self._storage.remove_session()
            self._storage.engine.dispose()
            self._storage = None


def _is_locked(error: BaseException | None) -> bool:
    """Whether an error of SQLite, or one of Optuna's around it, is a lock of another process."""
    while error is not None:
        if isinstance(error, OptunaLockedError):
            return True
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return True
        error = error.__cause__ or error.__context__
    return False


def _rebuild(journal: Journal, path: Path, *, patience: float, tell: bool) -> None:
    """See `write_optuna`; waits `patience` seconds for a lock, and logs that if `tell`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".optuna-") as scratch:
        fresh = Path(scratch) / path.name
        _build(summarise(journal), fresh)
        try:
            with closing(sqlite3.connect(fresh)) as source, closing(_connect(path)) as target:
                _copy(source, target, path, patience=patience, tell=tell)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            # The file is not a SQLite database, or is corrupt.
            os.replace(fresh, path)  # noqa: PTH105


def _build(results: SweepResults, path: Path) -> None:
    storage = _open(path)
    study = storage.create_new_study([StudyDirection.MINIMIZE], results.sweep.name)
    storage.set_study_system_attr(study, _METRIC_NAMES, ["bits per byte"])
    for name in ("space", "corpus", "corpus_sha256", "tokens", "command"):
        storage.set_study_user_attr(study, name, getattr(results.sweep, name))
    if not any(result.cell.status.waits for result in results.cells):
        # Optuna calls the trial with the lowest value the best one.
        storage.set_study_user_attr(study, "verdict", verdict(results) or "no cell has finished")
    insert_trials(storage, study, trials_of(results))
    storage.remove_session()
    storage.engine.dispose()


def trials_of(results: SweepResults) -> list[FrozenTrial]:
    """One trial per cell, in the order of the sweep's cells."""
    distributions = _distributions(results)
    return [_trial(results, result, distributions) for result in results.cells]


def _trial(
    results: SweepResults, result: CellResult, distributions: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    state, value = _outcome(result)
    start, end = _times(results, result)
    design = next(one for one in results.designs if result in one.cells)
    own = {name: one for name, one in distributions.items() if design in results.designs_on(name)}
    return FrozenTrial(
        number=result.cell.position,
        state=state,
        value=value,
        datetime_start=None if state is TrialState.WAITING else start,
        datetime_complete=end if state.is_finished() else None,
        params={name: _plain(result.cell.values.get(name)) for name in own},
        distributions=own,
        user_attrs=_attributes(result),
        system_attrs={},
        intermediate_values={point.baseline_tokens: point.bits_per_byte for point in result.curve},
        trial_id=-1,
    )


def _outcome(result: CellResult) -> tuple[TrialState, float | None]:
    state = _STATES[result.cell.status]
    if state is TrialState.COMPLETE and result.score is None:
        # Finished without a finite score, which Optuna does not accept.
        return TrialState.FAIL, None
    return state, result.score


def _attributes(result: CellResult) -> dict[str, Any]:
    cell, last = result.cell, result.last
    attributes = {
        "key": cell.key,
        "label": cell.label,
        "status": cell.status.value,
        "parameters": (cell.parameters or {}).get("total"),
        "embedding_share": (cell.parameters or {}).get("embedding_share"),
        "perplexity": None if last is None else last.full_perplexity,
        "rule": result.decision and result.decision.rule,
        "reason": result.decision.reason if result.decision else cell.reason,
    }
    return {name: value for name, value in attributes.items() if value not in (None, "")}


def _times(results: SweepResults, result: CellResult) -> tuple[datetime, datetime]:
    """Start and end; the start is computed from the seconds that the cell took.

    It is not before the start of the sweep, unless the clock was set back and the end is, too.
    """
    begin = results.sweep.created_at
    if (end := result.ended_at) is None:
        return datetime.fromtimestamp(begin), datetime.fromtimestamp(begin)
    start = end - sum(result.seconds.values())
    if end >= begin:
        start = max(begin, start)
    return datetime.fromtimestamp(start), datetime.fromtimestamp(end)


def _distributions(results: SweepResults) -> dict[str, BaseDistribution]:
    """One per axis, from the values of all cells, so that it is always the same."""
    return {
        axis: _distribution(
            [
                _plain(result.cell.values.get(axis))
                for design in results.designs_on(axis)
                for result in design.cells
            ]
            or [None],
            log=results.is_logarithmic(axis),
        )
        for axis in results.sweep.axes
    }


def _distribution(values: Sequence[Any], *, log: bool) -> BaseDistribution:
    kinds = {type(value) for value in values}
    if kinds == {int}:
        return IntDistribution(min(values), max(values))
    if kinds <= {int, float}:
        return FloatDistribution(min(values), max(values), log=log)
    return CategoricalDistribution(ordered(values))


def _plain(value: Any) -> Any:
    """Encodes nested values as text, because Optuna's choices must be scalars."""
    return json.dumps(value) if isinstance(value, (list, tuple, Mapping)) else value


def _copy(
    source: sqlite3.Connection,
    target: sqlite3.Connection,
    path: Path,
    *,
    patience: float,
    tell: bool,
) -> None:
    """Copies in one transaction. SQLite would wait for a lock forever and ignore Ctrl-C."""
    started = time.monotonic()
    told = False

    def progress(code: int, _remaining: int, _total: int) -> None:
        nonlocal told
        if code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return
        if time.monotonic() - started > patience:
            raise OptunaLockedError(path)
        if tell and not told:
            told = True
            logger.warning("%s is locked by another process; waiting for %g s", path, patience)

    source.backup(target, progress=progress, sleep=0.1)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=0.1)


def _open(path: Path, *, timeout: float = 30.0) -> RDBStorage:
    # Optuna logs every new study through its own handler.
    logging.getLogger("optuna.storages._rdb.storage").setLevel(logging.WARNING)
    return RDBStorage(optuna_url(path), engine_kwargs={"connect_args": {"timeout": timeout}})
