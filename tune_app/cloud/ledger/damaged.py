"""A ledger that is damaged is laid aside; a new one says so, is closed, and has lost the spending.

What was rented is then known by labels alone, and what was spent by the charges.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from tune_app.cloud.ledger.file import ASIDE, open_file

logger = logging.getLogger(__name__)

_PARTS = ("", "-wal", "-shm")


def is_damage(error: BaseException) -> bool:
    """Whether an error says that the content of the ledger's file is damaged."""
    return _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_unreadable(error: BaseException) -> bool:
    """Whether an error says that the ledger's file cannot be read; that may pass.

    Where it cannot be written, that is a LedgerUnwritableError.
    """
    return _code(error) in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}


def _code(error: BaseException) -> int:
    """SQLite's primary code of an error; 0 for another one."""
    if not isinstance(error, sqlite3.DatabaseError):
        return 0
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def lay_aside(path: Path, reason: str, *, cluster: str, slots: Iterable[int]) -> str:
    """Replaces a damaged ledger by a new, closed one. Returns why it is closed.

    Killed at any moment, the next daemon finds the damaged one, or none beside what was laid aside
    (which counts as damaged), or the new one; never an empty one that knows of nothing.

    Raises OSError if the folder cannot be written.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    aside = path.with_name(f"{path.name}{ASIDE}{stamp}")
    why = (
        f"the ledger was damaged ({reason}) and is kept as {aside.name}: all workers are ended, "
        "and what was spent is restored from the charges; allow launches again with: open"
    )
    new = path.with_name(f".{path.name}.new")
    for part in _PARTS:
        new.with_name(new.name + part).unlink(missing_ok=True)
    with closing(open_file(new, cluster=cluster, slots=slots)) as connection:
        connection.execute("UPDATE cluster SET closed = ?, lost = ?", [why, reason])
    for part in _PARTS:
        old = path.with_name(path.name + part)
        if old.exists():
            old.rename(aside.with_name(aside.name + part))
    new.rename(path)
    logger.error("%s", why)
    return why
