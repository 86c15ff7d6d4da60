"""Reads a sweep's journal; `journal.py` adds what is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

from filelock import FileLock

from tune_app.dollars.accounting import Run
from tune_app.dollars.bill import Bill
from tune_app.journal import rows
from tune_app.journal.endings import Ending
from tune_app.journal.file import is_being_written
from tune_app.journal.records import (
    Action,
    Amendment,
    Attempt,
    CellEvaluation,
    CellRecord,
    Decision,
    Failure,
    Heartbeat,
    Observation,
    Score,
    Status,
    SweepRecord,
)
from tune_app.plan.cell_names import named
from tune_app.plan.search.records import Round, rounds_left


class JournalReader:
    """The records of a journal."""

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

    def close(self) -> None:
        self._connection.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """A consistent snapshot: reads inside do not see what another process writes meanwhile."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def sweep(self) -> SweepRecord:
        """The sweep's record, under the name of its folder, which may have been renamed."""
        record = self._connection.execute("SELECT record FROM sweep").fetchone()[0]
        return rows.sweep(record, folder=self._path.absolute().parent.name)

    @property
    def is_driven(self) -> bool:
        """Whether a live process runs the sweep: only that one writes its journal.

        The one way to tell: for the status, the report, and what the cloud shows.
        """
        return self._lock is not None or is_being_written(self._path)

    def cells(self) -> list[CellRecord]:
        """Every cell, the baseline first; none is running if no live process runs the sweep.

        Labels are made anew from the values, so that they are unique among all cells of a sweep
        that was extended, and those of this version in an older journal.
        """
        with self.one_moment():
            found = self._connection.execute("SELECT * FROM cells ORDER BY position").fetchall()
            sweep = self.sweep()
        cells = [rows.cell_record(row) for row in found]
        # The cells of a search are named by their rounds, once and for all.
        return self._as_driven(cells if sweep.search else named(cells, sweep.axes))

    def cell(self, key: str) -> CellRecord:
        found = next((cell for cell in self.cells() if cell.key == key), None)
        assert found is not None, f"no cell {key}"
        return found

    def _as_driven(self, cells: list[CellRecord]) -> list[CellRecord]:
        """The cells; what a dead process left running is interrupted."""
        if all(cell.status is not Status.RUNNING for cell in cells) or self.is_driven:
            return cells
        return [
            replace(cell, status=Status.INTERRUPTED) if cell.status is Status.RUNNING else cell
            for cell in cells
        ]

    def _count(self, status: Status) -> int:
        found = self._connection.execute(
            "SELECT count(*) FROM cells WHERE status = ?", [status.value]
        )
        return int(found.fetchone()[0])

    def observations(self, cell: str | None = None) -> list[Observation]:
        """In order of arrival; of one cell, or of all."""
        return [rows.observation(row["record"]) for row in self._select("observations", cell)]

    def observation(self, cell: str, tokens: int) -> Observation | None:
        row = self._connection.execute(
            "SELECT record FROM observations WHERE cell = ? AND tokens = ?", [cell, tokens]
        ).fetchone()
        return None if row is None else rows.observation(row["record"])

    def decision(self, cell: str, tokens: int) -> Decision | None:
        """The decision on the observation at `tokens`; None if there was none."""
        row = self._connection.execute(
            "SELECT * FROM decisions WHERE cell = ? AND tokens = ? AND action != ?",
            [cell, tokens, Action.PROMOTE.value],
        ).fetchone()
        return None if row is None else rows.decision(row)

    def decisions(self) -> list[Decision]:
        """In the order they were made."""
        found = self._connection.execute("SELECT * FROM decisions ORDER BY number")
        return [rows.decision(row) for row in found]

    def failures(self, cell: str | None = None) -> list[Failure]:
        """In the order they were written; of one cell, or of all."""
        return [rows.failure(row) for row in self._select("failures", cell)]

    def attempts(self, cell: str | None = None) -> list[Attempt]:
        """In the order they began; of one cell, or of all."""
        return [rows.attempt(row) for row in self._select("attempts", cell)]

    def runs(self) -> list[Run]:
        """The runs of the driver, in order."""
        return [rows.run(row) for row in self._connection.execute("SELECT * FROM runs")]

    def ending(self) -> Ending | None:
        """How the newest run ended; None if it goes on, was killed, or was an older version's."""
        row = self._connection.execute("SELECT * FROM runs ORDER BY number DESC LIMIT 1").fetchone()
        return None if row is None else rows.ending(row)

    def bills(self) -> list[Bill]:
        """The newest bill of each cluster that the sweep has run on."""
        found = self._connection.execute("SELECT record FROM bills ORDER BY cluster")
        return [rows.bill(row["record"]) for row in found]

    def heartbeats(self) -> dict[str, Heartbeat]:
        """The newest heartbeat of each cell that has one."""
        found = self._connection.execute("SELECT * FROM heartbeats")
        return {row["cell"]: rows.heartbeat(row) for row in found}

    def scores(self) -> list[Score]:
        """Scores on held-out splits, in the order they were written."""
        return [rows.score(row) for row in self._select("scores", None)]

    def evaluations(self, cell: str | None = None) -> list[CellEvaluation]:
        """What finished cells scored in suites, in the order of writing; of one cell, or of all."""
        return [rows.evaluation(row) for row in self._select("evaluations", cell)]

    def rounds(self) -> list[Round]:
        """The rounds of a search with their proposals, in order."""
        with self.one_moment():
            found = self._connection.execute("SELECT * FROM rounds ORDER BY number").fetchall()
            proposals = self._connection.execute(
                "SELECT * FROM proposals ORDER BY number"
            ).fetchall()
        return [
            rows.round_record(row, [one for one in proposals if one["round"] == row["number"]])
            for row in found
        ]

    def rounds_left(self) -> int:
        """Rounds that a search has still to propose; 0 for a sweep without a search."""
        with self.one_moment():
            search = self.sweep().search
            return rounds_left(search, self.rounds()) if search else 0

    def amendments(self) -> list[Amendment]:
        """The commands that changed the sweep, in order."""
        found = self._connection.execute("SELECT * FROM amendments ORDER BY number")
        return [rows.amendment(row) for row in found]

    def checkpoints(self) -> dict[str, str]:
        """Path or URL of the newest checkpoint of each cell that has one: see `keep`."""
        found = self._connection.execute("SELECT cell, url FROM checkpoints")
        return {row["cell"]: row["url"] for row in found}

    def arrivals_after(self, arrival: int) -> list[tuple[int, Observation]]:
        """Observations newer than an arrival number: what a live view has not shown yet."""
        found = self._connection.execute(
            "SELECT arrival, record FROM observations WHERE arrival > ? ORDER BY arrival", [arrival]
        )
        return [(row["arrival"], rows.observation(row["record"])) for row in found]

    def _select(self, table: str, cell: str | None) -> list[sqlite3.Row]:
        """Rows in order of arrival; of one cell, or of all."""
        where, values = ("", []) if cell is None else (" WHERE cell = ?", [cell])
        return self._connection.execute(
            f"SELECT * FROM {table}{where} ORDER BY arrival", values
        ).fetchall()
