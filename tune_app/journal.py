"""The truth of a sweep, in one SQLite file: cells, observations, decisions, failures.

Every write is one transaction that is on the disk when the call returns. An observation and the
decision that answers it are written together: a driver that dies between two writes never leaves
an observation whose decision has to be computed a second time. The first observation of a
(cell, tokens) wins; a replay that differs is reported to the caller.

One process writes; any number may read while it does (write-ahead log).
"""

from __future__ import annotations

import json
import logging
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tune_app.records import (
    Action,
    CellRecord,
    Decision,
    Failure,
    Observation,
    Rule,
    Status,
    SweepRecord,
)

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE sweep (record TEXT NOT NULL);
CREATE TABLE cells (
    key TEXT PRIMARY KEY,
    label TEXT NOT NULL UNIQUE,
    position INTEGER NOT NULL UNIQUE,
    cell TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    config TEXT,
    parameters TEXT,
    flops_per_token REAL,
    attempts INTEGER NOT NULL DEFAULT 0
) STRICT;
-- `arrival` orders observations as the driver saw them: ASHA's rungs are rebuilt in that order.
CREATE TABLE observations (
    arrival INTEGER PRIMARY KEY AUTOINCREMENT,
    cell TEXT NOT NULL REFERENCES cells (key),
    tokens INTEGER NOT NULL,
    record TEXT NOT NULL,
    at REAL NOT NULL,
    UNIQUE (cell, tokens)
) STRICT;
CREATE TABLE decisions (
    arrival INTEGER PRIMARY KEY REFERENCES observations (arrival),
    cell TEXT NOT NULL REFERENCES cells (key),
    tokens INTEGER NOT NULL,
    action TEXT NOT NULL,
    rule TEXT NOT NULL,
    reason TEXT NOT NULL,
    evidence TEXT NOT NULL,
    at REAL NOT NULL
) STRICT;
CREATE TABLE failures (
    cell TEXT NOT NULL REFERENCES cells (key),
    reason TEXT NOT NULL,
    traceback TEXT NOT NULL,
    at REAL NOT NULL
) STRICT;
"""

# What a trial decides by chance or by clock is no part of its result.
_NOT_COMPARED = frozenset({"seconds", "tokens_per_second"})


class JournalError(ValueError):
    """The file is no journal of this program, or not one that it can read."""


class Journal:
    """A sweep's journal. `Journal.create` makes one, `Journal.open` continues or reads one."""

    def __init__(self, connection: sqlite3.Connection, *, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock

    @classmethod
    def create(
        cls,
        path: Path,
        sweep: SweepRecord,
        cells: Sequence[CellRecord],
        *,
        clock: Callable[[], float] = time.time,
    ) -> Journal:
        """A new journal with its cells, complete or not there at all.

        Raises JournalError where the file exists already.
        """
        if path.exists():
            raise JournalError(f"{path} exists already; open it or choose another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(path.name + ".new")
        for leftover in path.parent.glob(unfinished.name + "*"):
            leftover.unlink()
        connection = _connect(unfinished, read_only=False)
        with cls(connection, clock=clock) as journal, journal._transaction():
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute("INSERT INTO sweep VALUES (?)", [_dump(asdict(sweep))])
            connection.executemany(
                "INSERT INTO cells (key, label, position, cell, status, reason, config, parameters,"
                " flops_per_token, attempts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_cell_row(cell) for cell in cells],
            )
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        # Closed, it is one file, which takes its name at once or not at all.
        unfinished.replace(path)
        return cls.open(path, clock=clock)

    @classmethod
    def open(
        cls, path: Path, *, read_only: bool = False, clock: Callable[[], float] = time.time
    ) -> Journal:
        """An existing journal.

        Raises JournalError where there is none, where the file is something else, and where a
        newer version of the program wrote it.
        """
        if not path.is_file():
            raise JournalError(f"there is no journal at {path}; start the sweep first")
        connection = _connect(path, read_only=read_only)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
        except sqlite3.DatabaseError as error:
            connection.close()
            raise JournalError(f"{path} is no readable journal ({error})") from error
        if version > SCHEMA_VERSION:
            connection.close()
            raise JournalError(
                f"{path} has schema version {version}, this program knows {SCHEMA_VERSION}; "
                "use the newer Stellux that wrote it"
            )
        if "observations" not in tables:
            connection.close()
            raise JournalError(
                f"{path} holds no sweep (its creation was cut off, or it is another database); "
                "move it away and start again"
            )
        return cls(connection, clock=clock)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Reading

    def sweep(self) -> SweepRecord:
        values = json.loads(self._connection.execute("SELECT record FROM sweep").fetchone()[0])
        for name in ("seeds", "axes"):
            values[name] = tuple(values[name])
        return SweepRecord(**values)

    def cells(self) -> list[CellRecord]:
        """Every cell, the baseline first."""
        rows = self._connection.execute("SELECT * FROM cells ORDER BY position")
        return [_cell_record(row) for row in rows]

    def cell(self, key: str) -> CellRecord:
        row = self._connection.execute("SELECT * FROM cells WHERE key = ?", [key]).fetchone()
        assert row is not None, f"no cell {key}"
        return _cell_record(row)

    def observations(self, cell: str | None = None) -> list[Observation]:
        """In the order of their arrival; of one cell, or of all."""
        query = "SELECT record FROM observations"
        if cell is not None:
            query += " WHERE cell = ?"
        rows = self._connection.execute(
            query + " ORDER BY arrival", [cell] if cell is not None else []
        )
        return [_observation(row["record"]) for row in rows]

    def observation(self, cell: str, tokens: int) -> Observation | None:
        row = self._connection.execute(
            "SELECT record FROM observations WHERE cell = ? AND tokens = ?", [cell, tokens]
        ).fetchone()
        return None if row is None else _observation(row["record"])

    def decision(self, cell: str, tokens: int) -> Decision | None:
        """What was decided on the observation at `tokens`, or None where nothing was."""
        row = self._connection.execute(
            "SELECT * FROM decisions WHERE cell = ? AND tokens = ?", [cell, tokens]
        ).fetchone()
        return None if row is None else _decision(row)

    def decisions(self) -> list[Decision]:
        """In the order in which they fell."""
        rows = self._connection.execute("SELECT * FROM decisions ORDER BY arrival")
        return [_decision(row) for row in rows]

    def failures(self) -> list[Failure]:
        rows = self._connection.execute("SELECT * FROM failures ORDER BY at")
        return [Failure(**dict(row)) for row in rows]

    def arrivals_after(self, arrival: int) -> list[tuple[int, Observation]]:
        """Observations newer than an arrival number: what a live view has not shown yet."""
        rows = self._connection.execute(
            "SELECT arrival, record FROM observations WHERE arrival > ? ORDER BY arrival", [arrival]
        )
        return [(row["arrival"], _observation(row["record"])) for row in rows]

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
                [observation.cell, observation.tokens, _dump(observation.as_dict()), now],
            ).lastrowid
            if decision is None:
                return
            self._connection.execute(
                "INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    arrival,
                    decision.cell,
                    decision.tokens,
                    decision.action.value,
                    decision.rule.value,
                    decision.reason,
                    _dump(dict(decision.evidence)),
                    now,
                ],
            )
            status = {Action.STOP: Status.STOPPED, Action.FINISH: Status.FINISHED}.get(
                decision.action
            )
            if status is not None:
                self._set_status(decision.cell, status, decision.reason)

    def replay(self, observation: Observation) -> tuple[bool, Decision | None]:
        """Whether the (cell, tokens) is known already, and what was decided then.

        A retrained stretch reports again what it reported before. The first report stands; one
        that differs in its results is logged as a warning, since a resume should be exact.
        """
        known = self.observation(observation.cell, observation.tokens)
        if known is None:
            return False, None
        differing = [
            f"{name} {value!r} against {asdict(known)[name]!r}"
            for name, value in observation.as_dict().items()
            if name not in _NOT_COMPARED and not _same(value, asdict(known)[name])
        ]
        if differing:
            logger.warning(
                "cell %s reported %d tokens again with another result (%s); the first one stands",
                observation.cell,
                observation.tokens,
                ", ".join(differing),
            )
        return True, self.decision(observation.cell, observation.tokens)

    def start_attempt(self, cell: str) -> None:
        with self._transaction():
            self._connection.execute(
                "UPDATE cells SET status = ?, reason = '', attempts = attempts + 1 WHERE key = ?",
                [Status.RUNNING.value, cell],
            )

    def fail(self, cell: str, reason: str, traceback: str) -> Failure:
        """Writes that an attempt at a cell ended in an error."""
        failure = Failure(cell=cell, reason=reason, traceback=traceback, at=self._clock())
        with self._transaction():
            self._connection.execute(
                "INSERT INTO failures VALUES (:cell, :reason, :traceback, :at)", asdict(failure)
            )
            self._set_status(cell, Status.FAILED, reason)
        return failure

    def _set_status(self, cell: str, status: Status, reason: str) -> None:
        self._connection.execute(
            "UPDATE cells SET status = ?, reason = ? WHERE key = ?", [status.value, reason, cell]
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=30,
        check_same_thread=False,
    )
    connection.row_factory = sqlite3.Row
    try:
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            # FULL: a row that was acknowledged survives a power cut, not only a crash.
            connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise JournalError(f"{path} is no readable journal ({error})") from error
    return connection


def _dump(value: Mapping[str, Any]) -> str:
    """JSON; NaN and infinity keep their Python spelling, which json.loads reads back."""
    return json.dumps(value, sort_keys=True)


def _observation(record: str) -> Observation:
    return Observation(**json.loads(record))


def _cell_row(cell: CellRecord) -> tuple[Any, ...]:
    return (
        cell.key,
        cell.label,
        cell.position,
        _dump(cell.values),
        cell.status.value,
        cell.reason,
        None if cell.config is None else _dump(cell.config),
        None if cell.parameters is None else _dump(cell.parameters),
        cell.flops_per_token,
        cell.attempts,
    )


def _cell_record(row: sqlite3.Row) -> CellRecord:
    return CellRecord(
        key=row["key"],
        label=row["label"],
        position=row["position"],
        values=json.loads(row["cell"]),
        status=Status(row["status"]),
        reason=row["reason"],
        config=None if row["config"] is None else json.loads(row["config"]),
        parameters=None if row["parameters"] is None else json.loads(row["parameters"]),
        flops_per_token=row["flops_per_token"],
        attempts=row["attempts"],
    )


def _decision(row: sqlite3.Row) -> Decision:
    return Decision(
        cell=row["cell"],
        tokens=row["tokens"],
        action=Action(row["action"]),
        rule=Rule(row["rule"]),
        reason=row["reason"],
        evidence=json.loads(row["evidence"]),
        at=row["at"],
    )


def _same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return one == other


def by_cell(observations: Iterable[Observation]) -> dict[str, list[Observation]]:
    """Curves: the observations of each cell, in the order of their tokens."""
    curves: dict[str, list[Observation]] = {}
    for observation in observations:
        curves.setdefault(observation.cell, []).append(observation)
    for curve in curves.values():
        curve.sort(key=lambda point: point.tokens)
    return curves
