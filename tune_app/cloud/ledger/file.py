"""The ledger's file: created completely or not at all, and checked to be this cluster's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from tune_app.cloud.errors import LedgerUnwritableError
from tune_app.cloud.ledger.disk_reserve import free_reserve, keep_reserve
from tune_app.cloud.ledger.schema import SCHEMA_VERSION, bring_up, create_tables

LEDGER = "ledger.sqlite3"
ASIDE = ".damaged-"
"""Between a ledger's name and the time when it was laid aside: see `damaged`."""


class LedgerError(ValueError):
    """The file is not a ledger of this cluster, or not one that this program can read."""


class LedgerDamagedError(LedgerError):
    """The file is damaged, or missing where a damaged one lies: the spending is not known."""


def open_file(path: Path, *, cluster: str, slots: Iterable[int]) -> sqlite3.Connection:
    """A connection to the ledger at `path`, created if missing; usable by any thread.

    Args:
        slots: the numbers k that may be used; others in use stay until their instance ends.

    Raises LedgerError if it is another cluster's or another version's, LedgerDamagedError if it is
    not a ledger, and LedgerUnwritableError if the disk is full even without the reserve.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() and any(path.parent.glob(f"{path.name}{ASIDE}*")):
        raise LedgerDamagedError(f"{path} is missing, and a damaged one lies beside it")
    numbers = list(slots)
    try:
        connection = _open(path, cluster, numbers)
    except sqlite3.OperationalError as error:
        if not free_reserve(path.parent):
            raise LedgerUnwritableError.of(path.parent, error) from error
        try:
            return _open(path, cluster, numbers)
        except sqlite3.OperationalError as again:
            raise LedgerUnwritableError.of(path.parent, again) from again
    keep_reserve(path.parent)
    return connection


def _open(path: Path, cluster: str, numbers: list[int]) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL: a record survives a power cut, not only a crash.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        _check(connection, path)
        _make(connection, path, cluster)
        name = connection.execute("SELECT name FROM cluster").fetchone()["name"]
        if name != cluster:
            raise LedgerError(
                f"{path} is the ledger of the cluster {name!r}, not of {cluster!r}; "
                "give this cluster a folder of its own"
            )
        marks = ", ".join("?" * len(numbers))
        connection.execute(
            f"DELETE FROM slots WHERE attempt IS NULL AND k NOT IN ({marks})", numbers
        )
        connection.executemany("INSERT OR IGNORE INTO slots (k) VALUES (?)", [[k] for k in numbers])
        connection.execute("COMMIT")
    except sqlite3.OperationalError:
        connection.close()
        raise
    except sqlite3.DatabaseError as error:
        connection.close()
        raise LedgerDamagedError(f"{path} is not a readable ledger ({error})") from error
    except LedgerError:
        connection.close()
        raise
    return connection


def ledger_path(state: Path, cluster: str) -> Path:
    """A cluster's ledger: each has a folder of its own in the daemon's."""
    return state / cluster / LEDGER


def still_rented(path: Path) -> list[int]:
    """Contracts that a ledger does not know to be gone; none if there is no ledger.

    Read-only; a daemon may be running. Raises LedgerError if it cannot be read.
    """
    if not path.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as ledger:
            rows = ledger.execute(
                "SELECT contract FROM instances WHERE ended_at IS NULL ORDER BY contract"
            ).fetchall()
    except sqlite3.DatabaseError as error:
        raise LedgerError(f"{path} is not a readable ledger ({error})") from error
    return [contract for (contract,) in rows]


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Raises LedgerDamagedError for damage anywhere in the file, before money relies on it."""
    said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        raise LedgerDamagedError(f"{path} is damaged: {said}")


def _make(connection: sqlite3.Connection, path: Path, cluster: str) -> None:
    """The tables, where there are none yet, or what older ones lack."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()[0]
    if version == 0 and not tables:
        create_tables(connection)
        connection.execute("INSERT INTO cluster (name) VALUES (?)", [cluster])
    elif 1 <= version <= SCHEMA_VERSION:
        bring_up(connection, version)
    else:
        raise LedgerError(
            f"{path} has schema version {version}, this program knows {SCHEMA_VERSION}; "
            "use the Stellux that wrote it, or give the cluster another folder"
        )
