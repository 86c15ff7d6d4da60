"""The truth of a sweep, in one SQLite file: cells, observations, decisions, attempts, failures.

Every write is one transaction that is on the disk when the call returns. An observation and its
decision are written together, so that a driver that dies in between never leaves an observation
whose decision would have to be made a second time. The first observation at a (cell, tokens) wins;
a later one that differs is logged as a warning.

On a full disk a write raises JournalFullError, writes nothing, and may be repeated
(`tune_app/journal/full_disk.py`).

One process writes, and a second one is refused; any number may read meanwhile (write-ahead log).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from tune_app.journal import rows
from tune_app.journal.adoption import AdoptedCell, write_adopted
from tune_app.journal.cost_writer import CostWriter
from tune_app.journal.file import (
    JournalError,
    JournalFullError,
    connect,
    lock_for_writing,
    open_existing,
    remove_database,
    require_journal,
)
from tune_app.journal.metrics import metric
from tune_app.journal.records import (
    DIVERGED,
    CellEvaluation,
    CellRecord,
    Decision,
    Failure,
    FailureClass,
    Observation,
    Score,
    Status,
    SweepRecord,
)
from tune_app.journal.schema import SCHEMA_VERSION, create_tables
from tune_app.plan.rows import PlannedCell
from tune_app.plan.search.records import Round

__all__ = ["SCHEMA_VERSION", "Journal", "JournalError", "JournalFullError"]

logger = logging.getLogger(__name__)


class Journal(CostWriter):
    """A sweep's journal. `Journal.create` makes one, `Journal.open` continues or reads one."""

    @classmethod
    def create(
        cls,
        path: Path,
        sweep: SweepRecord,
        cells: Sequence[PlannedCell],
        *,
        adopted: Sequence[AdoptedCell] = (),
        rounds: Sequence[Round] = (),
        clock: Callable[[], float] = time.time,
    ) -> Journal:
        """Creates a journal with its cells, completely or not at all.

        Args:
            path: of the file.
            sweep: the sweep's definition.
            cells: all of them, the baseline first.
            adopted: what other sweeps have recorded about some of the cells.
            clock: seconds since the epoch.
            rounds: of a search, those that proposed some of the cells.

        Raises JournalError if the file exists already, or if another process is creating it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock_to_keep(path) as lock:
            if path.exists():
                raise JournalError(f"{path} exists already; open it or choose another name")
            unfinished = path.with_name(path.name + ".new")
            remove_database(unfinished)
            connection = connect(unfinished, read_only=False)
            with cls(connection, path=unfinished, clock=clock) as journal, journal._transaction():
                create_tables(connection)
                connection.execute("INSERT INTO sweep VALUES (?)", [rows.sweep_row(sweep)])
                journal._insert(CellRecord.of(cell) for cell in cells)
                for cell in adopted:
                    write_adopted(connection, cell)
                journal._insert_rounds(rounds)
            # Once closed it is a single file, and the rename is atomic.
            unfinished.replace(path)
            return cls(open_existing(path, read_only=False), path=path, clock=clock, lock=lock)

    @classmethod
    def open(
        cls, path: Path, *, read_only: bool = False, clock: Callable[[], float] = time.time
    ) -> Journal:
        """Opens an existing journal.

        An older version is copied beside the file and then upgraded; opened for reading, the file
        stays as it is.

        Raises JournalError if there is no journal, if the file is something else, if a newer
        version of the program wrote it, or if another process is writing it.
        """
        require_journal(path)
        if read_only:
            return cls(open_existing(path, read_only=True), path=path, clock=clock)
        with _lock_to_keep(path) as lock:
            journal = cls(open_existing(path, read_only=False), path=path, clock=clock, lock=lock)
            if journal._count(Status.RUNNING):
                # Their process is dead, since it would hold the lock.
                journal.mark_interrupted(killed=True)
            return journal

    def record(
        self,
        observation: Observation,
        decision: Decision | None,
        promoted: Sequence[Decision] = (),
    ) -> None:
        """Writes an observation, what was decided on it and the new status of cells in one
        transaction.

        An observation without a decision leaves the cell running. The (cell, tokens) must be new:
        see `replay`.

        promoted: paused cells that go on because of it, or will not.
        """
        now = self._clock()
        with self._transaction():
            arrival = self._connection.execute(
                "INSERT INTO observations (cell, tokens, record, at) VALUES (?, ?, ?, ?)",
                [observation.cell, observation.tokens, rows.dump(observation.to_values()), now],
            ).lastrowid
            assert arrival is not None
            for one in (*([] if decision is None else [decision]), *promoted):
                self._decide(one, arrival=arrival, at=now)
            if decision is not None and decision.rule == DIVERGED:
                self._add_failure(
                    Failure(
                        cell=decision.cell,
                        kind=FailureClass.NUMBERS,
                        reason=decision.reason,
                        traceback="",
                        ended=True,
                        at=now,
                        tokens=decision.tokens,
                        after=arrival,
                    )
                )

    def promote(self, promoted: Sequence[Decision]) -> None:
        """Writes that paused cells go on or that cells wait, without a new observation, in one
        transaction."""
        now = self._clock()
        with self._transaction():
            for decision in promoted:
                self._decide(decision, arrival=self._newest_arrival(), at=now)

    def replay(self, observation: Observation) -> tuple[bool, Decision | None]:
        """Whether the (cell, tokens) is already recorded, and the decision made then.

        A cell that resumes from a checkpoint repeats observations. The first one is kept; a repeat
        with different results is logged as a warning, since a resume should be exact.
        """
        known = self.observation(observation.cell, observation.tokens)
        if known is None:
            return False, None
        differing = _differences(known, observation)
        if differing:
            logger.warning(
                "cell %s repeated its observation at %d tokens with another result (%s); "
                "the first one is kept",
                observation.cell,
                observation.tokens,
                ", ".join(differing),
            )
        return True, self.decision(observation.cell, observation.tokens)

    def start_attempt(self, cell: str, *, host: str = "") -> int:
        """Records that a worker starts the cell; returns the attempt's number, from 1."""
        now = self._clock()
        with self._transaction():
            self._connection.execute(
                "UPDATE cells SET status = ?, reason = '', attempts = attempts + 1 WHERE key = ?",
                [Status.RUNNING.value, cell],
            )
            self._end_attempts(now, cell=cell)
            self._connection.execute(
                "INSERT INTO attempts (cell, number, host, started_at, run)"
                " SELECT key, attempts, ?, ?, (SELECT coalesce(max(number), 0) FROM runs)"
                " FROM cells WHERE key = ?",
                [host, now, cell],
            )
            number = self._connection.execute(
                "SELECT attempts FROM cells WHERE key = ?", [cell]
            ).fetchone()[0]
        return int(number)

    def resumed(self, cell: str, tokens: int, *, host: str = "") -> None:
        """Records the tokens that the cell's newest attempt resumed from, 0 for the start.

        Only the first call for an attempt counts. Adds a host that was unknown at the start.
        """
        with self._transaction():
            self._connection.execute(
                "UPDATE attempts SET resumed_from = ?, host = iif(? = '', host, ?)"
                " WHERE resumed_from IS NULL"
                " AND arrival = (SELECT max(arrival) FROM attempts WHERE cell = ?)",
                [tokens, host, host, cell],
            )

    def end_attempt(self, cell: str) -> None:
        """Records that no process is busy with the cell any more, though it has not ended: its
        model is trained and being stored."""
        with self._transaction():
            self._end_attempts(self._clock(), cell=cell)

    def beat(self, cell: str, tokens: int, host: str) -> None:
        """Replaces the cell's heartbeat; callers choose how often."""
        with self._transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO heartbeats (cell, tokens, host, at) VALUES (?, ?, ?, ?)",
                [cell, tokens, host, self._clock()],
            )

    def keep(self, cell: str, url: str | None) -> None:
        """Records the cell's newest checkpoint in the store; None if there is none any more.

        Args:
            cell: key of the cell.
            url: path or URL; relative to the sweep's folder if it is inside it.
        """
        with self._transaction():
            if url is None:
                self._connection.execute("DELETE FROM checkpoints WHERE cell = ?", [cell])
                return
            self._connection.execute(
                "INSERT OR REPLACE INTO checkpoints (cell, url, at) VALUES (?, ?, ?)",
                [cell, url, self._clock()],
            )

    def fail(self, failure: Failure, *, ends_attempt: bool = True) -> Failure:
        """Records an error of an attempt; returns the failure with its time.

        Sets the cell's status to failed if the failure ended the cell.

        ends_attempt: whether it ended the attempt; some are only noted.
        """
        failure = replace(failure, at=self._clock(), after=self._newest_arrival())
        with self._transaction():
            self._add_failure(failure)
            if ends_attempt:
                self._end_attempts(failure.at, cell=failure.cell)
            if failure.ended:
                self._set_status(failure.cell, Status.FAILED, failure.reason)
        return failure

    def score(self, score: Score) -> None:
        """Records a cell's score on a split; the first of a (cell, split) is kept."""
        with self._transaction():
            self._connection.execute(
                "INSERT OR IGNORE INTO scores (cell, split, tokens, bits_per_byte, perplexity,"
                " text_bytes, at) VALUES (:cell, :split, :tokens, :bits_per_byte, :perplexity,"
                " :text_bytes, :at)",
                rows.score_row(replace(score, at=self._clock())),
            )

    def evaluate(self, evaluation: CellEvaluation) -> bool:
        """Records what a cell scored in a suite; whether it was new.

        The first of a (cell, suite, split) is kept, so that no split is scored until it pleases.
        """
        with self._transaction():
            written = self._connection.execute(
                "INSERT OR IGNORE INTO evaluations (cell, suite, split, metrics, notes, at)"
                " VALUES (:cell, :suite, :split, :metrics, :notes, :at)",
                rows.evaluation_row(replace(evaluation, at=self._clock())),
            )
        return written.rowcount == 1

    def mark_interrupted(self, *, killed: bool = False) -> None:
        """Records that no cell is in training any more: those that were are interrupted.

        killed: whether the driver was, some time ago; else they have ended just now.
        """
        with self._transaction():
            if killed:
                self._end_attempts_as_last_heard()
            self._end_attempts(self._clock())
            self._connection.execute(
                "UPDATE cells SET status = ? WHERE status = ?",
                [Status.INTERRUPTED.value, Status.RUNNING.value],
            )

    def _add_failure(self, failure: Failure) -> None:
        self._connection.execute(
            "INSERT INTO failures (cell, kind, reason, traceback, ended, at, host, tokens, cause,"
            " remedy, after) VALUES (:cell, :kind, :reason, :traceback, :ended, :at, :host,"
            " :tokens, :cause, :remedy, :after)",
            rows.failure_row(failure),
        )

    def _decide(self, decision: Decision, *, arrival: int, at: float) -> None:
        self._connection.execute(
            "INSERT INTO decisions (arrival, cell, tokens, action, rule, reason, evidence, at,"
            " amendment) VALUES (?, ?, ?, ?, ?, ?, ?, ?, (SELECT count(*) FROM amendments))",
            rows.decision_row(decision, arrival=arrival, at=at),
        )
        status = decision.action.status
        if status is not None:
            self._set_status(decision.cell, status, decision.reason)
        if status is not None and status.done:
            self._end_attempts(at, cell=decision.cell)


@contextmanager
def _lock_to_keep(path: Path) -> Iterator[FileLock]:
    """The lock for writing; released here only if opening the journal fails."""
    lock = lock_for_writing(path)
    try:
        yield lock
    except BaseException:
        lock.release()
        raise


def _differences(known: Observation, again: Observation) -> list[str]:
    """The results in which two observations at one (cell, tokens) differ, as text.

    Metrics that depend on the clock are not compared, nor those that only one of the two has: they
    may come from two versions of the program.
    """
    pairs = {"baseline_tokens": (again.baseline_tokens, known.baseline_tokens)} | {
        name: (value, known.metrics[name])
        for name, value in again.metrics.items()
        if name in known.metrics and metric(name).repeats
    }
    return [
        f"{name} {value!r} against {other!r}"
        for name, (value, other) in pairs.items()
        if value != other and not (math.isnan(value) and math.isnan(other))
    ]
