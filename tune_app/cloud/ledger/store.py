"""Rows and transactions of the ledger, and what happens when the disk is full."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tune_app.cloud.errors import LedgerUnwritableError
from tune_app.cloud.ledger.disk_reserve import free_reserve
from tune_app.cloud.ledger.endings import EndKind
from tune_app.cloud.ledger.records import Attempt, Rental
from tune_app.cloud.ledger.states import RequestState


class LedgerStore:
    """The storage of the ledger. Thread-safe.

    Args:
        folder: of the ledger and its reserve of disk space.
    """

    def __init__(
        self, connection: sqlite3.Connection, *, folder: Path, clock: Callable[[], float]
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._clock = clock
        self._lock = threading.RLock()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def attempt(self, name: str) -> Attempt:
        found = self._attempts("WHERE id = ?", name)
        assert found, f"no attempt {name}"
        return found[0]

    def find_attempt(self, name: str) -> Attempt | None:
        return next(iter(self._attempts("WHERE id = ?", name)), None)

    def rental(self, contract: int) -> Rental | None:
        return next(iter(self._rentals("WHERE contract = ?", contract)), None)

    def live(self) -> list[Rental]:
        """Instances that are not known to be gone, doomed ones too."""
        return self._rentals("WHERE ended_at IS NULL ORDER BY contract")

    def rentals(self) -> list[Rental]:
        return self._rentals("ORDER BY contract")

    def _insert(self, table: str, **values: object) -> None:
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        self._connection.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks})", list(values.values())
        )

    def _count(self, query: str, *values: object) -> int:
        with self._lock:
            return int(self._connection.execute(query, values).fetchone()[0])

    def _attempts(self, where: str, *values: object) -> list[Attempt]:
        with self._lock:
            rows = self._connection.execute(f"SELECT * FROM attempts {where}", values).fetchall()
        return [Attempt(**_values(row) | {"state": RequestState(row["state"])}) for row in rows]

    def _rentals(self, where: str, *values: object) -> list[Rental]:
        with self._lock:
            rows = self._connection.execute(f"SELECT * FROM instances {where}", values).fetchall()
        return [_rental(row) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing. Raises LedgerUnwritableError if it cannot be written."""
        with self._lock:
            if self._connection.in_transaction:  # part of a larger one
                yield
                return
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                # The next write has space again, unless others took it.
                free_reserve(self._folder)
                raise LedgerUnwritableError.of(self._folder, error) from error
            finally:
                # A full disk may have ended it already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")


def _rental(row: sqlite3.Row) -> Rental:
    kind = row["ended_by"]
    ended_by = None if kind is None else EndKind(kind)
    return Rental(**_values(row) | {"ran": bool(row["ran"]), "ended_by": ended_by})


def _values(row: sqlite3.Row) -> dict[str, Any]:
    return {name: row[name] for name in row.keys()}  # noqa: SIM118 - a Row iterates its values
