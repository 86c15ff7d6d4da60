"""The truth of a sweep, in one SQLite file: cells, observations, decisions, attempts, failures.

Every write is one transaction that is on the disk when the call returns. An observation and the
decision that answers it are written together: a driver that dies between two writes never leaves
an observation whose decision has to be computed a second time. The first observation of a
(cell, tokens) wins; a replay that differs is reported to the caller.

A write that finds the disk full raises JournalFullError, leaves nothing of itself, and may be made
again (`tune_app/journal/full_disk.py`).

One process writes, and a second one is refused; any number may read meanwhile (write-ahead log).
"""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from filelock import FileLock

from tune_app.journal import rows
from tune_app.journal.file import (
    JournalError,
    JournalFullError,
    connect,
    lock_for_writing,
    open_existing,
    remove_database,
    require_journal,
    transaction,
)
from tune_app.journal.metrics import metric
from tune_app.journal.records import (
    DIVERGED,
    Attempt,
    CellRecord,
    Decision,
    Failure,
    FailureClass,
    Heartbeat,
    Observation,
    Status,
    SweepRecord,
)
from tune_app.journal.schema import SCHEMA_VERSION, create_tables
from tune_app.plan.rows import PlannedCell

__all__ = ["SCHEMA_VERSION", "Journal", "JournalError", "JournalFullError"]

logger = logging.getLogger(__name__)


class Journal:
    """A sweep's journal. `Journal.create` makes one, `Journal.open` continues or reads one."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        path: Path,
        clock: Callable[[], float],
        lock: FileLock | None = None,
    ) -> None:
        self._connection = connection
        self._path = path
        self._clock = clock
        self._lock = lock

    @classmethod
    def create(
        cls,
        path: Path,
        sweep: SweepRecord,
        cells: Sequence[PlannedCell],
        *,
        clock: Callable[[], float] = time.time,
    ) -> Journal:
        """A new journal with its cells, complete or not there at all.

        Raises JournalError where the file exists already, or another process makes it.
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
                connection.execute("INSERT INTO sweep VALUES (?)", [rows.dump(asdict(sweep))])
                connection.executemany(
                    "INSERT INTO cells (key, label, position, cell, status, reason, config,"
                    " parameters, flops_per_token, attempts, baseline_config, former_key)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [rows.cell_row(CellRecord.of(cell)) for cell in cells],
                )
            # Closed, it is one file, which takes its name at once or not at all.
            unfinished.replace(path)
            return cls(open_existing(path, read_only=False), path=path, clock=clock, lock=lock)

    @classmethod
    def open(
        cls, path: Path, *, read_only: bool = False, clock: Callable[[], float] = time.time
    ) -> Journal:
        """An existing journal.

        One of an older version is copied beside itself and brought to this version; opened for
        reading, it stays as it is.

        Raises JournalError where there is none, where the file is something else, where a newer
        version of the program wrote it, and where another process writes it.
        """
        require_journal(path)
        if read_only:
            return cls(open_existing(path, read_only=True), path=path, clock=clock)
        with _lock_to_keep(path) as lock:
            return cls(open_existing(path, read_only=False), path=path, clock=clock, lock=lock)

    def close(self) -> None:
        self._connection.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Reading

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """Everything read inside is of one moment, whatever another process writes meanwhile."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def sweep(self) -> SweepRecord:
        return rows.sweep(self._connection.execute("SELECT record FROM sweep").fetchone()[0])

    def cells(self) -> list[CellRecord]:
        """Every cell, the baseline first."""
        found = self._connection.execute("SELECT * FROM cells ORDER BY position")
        return [rows.cell_record(row) for row in found]

    def cell(self, key: str) -> CellRecord:
        row = self._connection.execute("SELECT * FROM cells WHERE key = ?", [key]).fetchone()
        assert row is not None, f"no cell {key}"
        return rows.cell_record(row)

    def observations(self, cell: str | None = None) -> list[Observation]:
        """In the order of their arrival; of one cell, or of all."""
        return [rows.observation(row["record"]) for row in self._select("observations", cell)]

    def observation(self, cell: str, tokens: int) -> Observation | None:
        row = self._connection.execute(
            "SELECT record FROM observations WHERE cell = ? AND tokens = ?", [cell, tokens]
        ).fetchone()
        return None if row is None else rows.observation(row["record"])

    def decision(self, cell: str, tokens: int) -> Decision | None:
        """What was decided on the observation at `tokens`, or None where nothing was."""
        row = self._connection.execute(
            "SELECT * FROM decisions WHERE cell = ? AND tokens = ?", [cell, tokens]
        ).fetchone()
        return None if row is None else rows.decision(row)

    def decisions(self) -> list[Decision]:
        """In the order in which they were made."""
        return [rows.decision(row) for row in self._select("decisions", None)]

    def failures(self, cell: str | None = None) -> list[Failure]:
        """In the order in which they were written; of one cell, or of all."""
        return [rows.failure(row) for row in self._select("failures", cell)]

    def attempts(self, cell: str | None = None) -> list[Attempt]:
        """In the order in which they began; of one cell, or of all."""
        return [rows.attempt(row) for row in self._select("attempts", cell)]

    def heartbeats(self) -> dict[str, Heartbeat]:
        """The newest sign of life of each cell that has given one."""
        found = self._connection.execute("SELECT * FROM heartbeats")
        return {row["cell"]: rows.heartbeat(row) for row in found}

    def arrivals_after(self, arrival: int) -> list[tuple[int, Observation]]:
        """Observations newer than an arrival number: what a live view has not shown yet."""
        found = self._connection.execute(
            "SELECT arrival, record FROM observations WHERE arrival > ? ORDER BY arrival", [arrival]
        )
        return [(row["arrival"], rows.observation(row["record"])) for row in found]

    # Writing

    def record(self, observation: Observation, decision: Decision | None) -> None:
        """Writes an observation, its decision and the cell's new status as one.

        An observation without a decision leaves the cell running. The (cell, tokens) must be new:
        see `replay`.
        """
        now = self._clock()
        with self._transaction():
            arrival = self._connection.execute(
                "INSERT INTO observations (cell, tokens, record, at) VALUES (?, ?, ?, ?)",
                [observation.cell, observation.tokens, rows.dump(observation.to_values()), now],
            ).lastrowid
            if decision is None:
                return
            assert arrival is not None
            self._connection.execute(
                "INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                rows.decision_row(decision, arrival=arrival, at=now),
            )
            status = decision.action.status
            if status is not None:
                self._set_status(decision.cell, status, decision.reason)
            if decision.rule == DIVERGED:
                self._add_failure(
                    Failure(
                        cell=decision.cell,
                        kind=FailureClass.NUMBERS,
                        reason=decision.reason,
                        traceback="",
                        ended=True,
                        at=now,
                        tokens=decision.tokens,
                    )
                )

    def replay(self, observation: Observation) -> tuple[bool, Decision | None]:
        """Whether the (cell, tokens) is known already, and what was decided then.

        A retrained stretch reports again what it reported before. The first report stands; one
        that differs in its results is logged as a warning, since a resume should be exact.
        """
        known = self.observation(observation.cell, observation.tokens)
        if known is None:
            return False, None
        differing = _differences(known, observation)
        if differing:
            logger.warning(
                "cell %s reported %d tokens again with another result (%s); the first one stands",
                observation.cell,
                observation.tokens,
                ", ".join(differing),
            )
        return True, self.decision(observation.cell, observation.tokens)

    def start_attempt(self, cell: str, *, host: str = "") -> int:
        """Writes that a worker takes the cell up; returns the attempt's number, from 1."""
        with self._transaction():
            self._connection.execute(
                "UPDATE cells SET status = ?, reason = '', attempts = attempts + 1 WHERE key = ?",
                [Status.RUNNING.value, cell],
            )
            self._connection.execute(
                "INSERT INTO attempts (cell, number, host, started_at)"
                " SELECT key, attempts, ?, ? FROM cells WHERE key = ?",
                [host, self._clock(), cell],
            )
            number = self._connection.execute(
                "SELECT attempts FROM cells WHERE key = ?", [cell]
            ).fetchone()[0]
        return int(number)

    def resumed(self, cell: str, tokens: int, *, host: str = "") -> None:
        """Writes what the cell's newest attempt goes on from: tokens, 0 for the start.

        The first call for an attempt stands. A host that was not known at its start is added.
        """
        with self._transaction():
            self._connection.execute(
                "UPDATE attempts SET resumed_from = ?, host = iif(? = '', host, ?)"
                " WHERE resumed_from IS NULL"
                " AND arrival = (SELECT max(arrival) FROM attempts WHERE cell = ?)",
                [tokens, host, host, cell],
            )

    def beat(self, cell: str, tokens: int, host: str) -> None:
        """Writes a sign of life in place of the one before; callers choose how often."""
        with self._transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO heartbeats (cell, tokens, host, at) VALUES (?, ?, ?, ?)",
                [cell, tokens, host, self._clock()],
            )

    def fail(self, failure: Failure) -> Failure:
        """Writes that an attempt ended in an error; returns the failure with its time.

        The cell has failed where the failure ended it; otherwise its status stays.
        """
        failure = replace(failure, at=self._clock())
        with self._transaction():
            self._add_failure(failure)
            if failure.ended:
                self._set_status(failure.cell, Status.FAILED, failure.reason)
        return failure

    def _add_failure(self, failure: Failure) -> None:
        self._connection.execute(
            "INSERT INTO failures (cell, kind, reason, traceback, ended, at, host, tokens, cause,"
            " remedy) VALUES (:cell, :kind, :reason, :traceback, :ended, :at, :host, :tokens,"
            " :cause, :remedy)",
            rows.failure_row(failure),
        )

    def _set_status(self, cell: str, status: Status, reason: str) -> None:
        self._connection.execute(
            "UPDATE cells SET status = ?, reason = ? WHERE key = ?", [status.value, reason, cell]
        )

    def _select(self, table: str, cell: str | None) -> list[sqlite3.Row]:
        """Rows in the order of their arrival; of one cell, or of all."""
        where, values = ("", []) if cell is None else (" WHERE cell = ?", [cell])
        return self._connection.execute(
            f"SELECT * FROM {table}{where} ORDER BY arrival", values
        ).fetchall()

    def _transaction(self) -> AbstractContextManager[None]:
        return transaction(self._connection, self._path)


@contextmanager
def _lock_to_keep(path: Path) -> Iterator[FileLock]:
    """The lock for writing, released again only where the journal does not come to be."""
    lock = lock_for_writing(path)
    try:
        yield lock
    except BaseException:
        lock.release()
        raise


def _differences(known: Observation, again: Observation) -> list[str]:
    """In which results two reports of one (cell, tokens) differ, as text.

    What the clock has a part in is not compared, nor what only one of them reports: two versions
    of the program may have trained them.
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
