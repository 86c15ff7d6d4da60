"""Failed launches in the ledger's tables: by an error, or by a bad worker.

An error is forgotten with the next launch that rents something. A bad worker is not, since renting
still succeeds afterwards: it is forgotten when a later worker has proved itself.
"""

from __future__ import annotations

import sqlite3


def add_launch(
    connection: sqlite3.Connection, node_type: str, *, succeeded: bool, reason: str, now: float
) -> None:
    """Records whether a request rented something."""
    connection.execute(
        "INSERT INTO launches (node_type, succeeded, reason, at) VALUES (?, ?, ?, ?)",
        [node_type, int(succeeded), reason, now],
    )


def add_bad_worker(
    connection: sqlite3.Connection,
    node_type: str,
    machine: int,
    *,
    reason: str,
    now: float,
    never_linked: bool,
) -> None:
    """Records that a worker on a machine was bad."""
    connection.execute(
        "INSERT INTO bad_workers (node_type, machine, reason, at, never_linked) "
        "VALUES (?, ?, ?, ?, ?)",
        [node_type, machine, reason, now, int(never_linked)],
    )


def machines_never_linked(connection: sqlite3.Connection) -> int:
    """The number of machines on which a link never opened, since the last one that did."""
    found = connection.execute(
        "SELECT COUNT(DISTINCT machine) FROM bad_workers WHERE never_linked = 1"
    ).fetchone()
    return int(found[0])


def link_opened(connection: sqlite3.Connection) -> None:
    """The head can be reached: links that never opened were the workers' own fault."""
    connection.execute("UPDATE bad_workers SET never_linked = 0 WHERE never_linked = 1")


def is_bad_worker(connection: sqlite3.Connection, machine: int, *, since: float) -> bool:
    """Whether a worker rented then on a machine is recorded as bad."""
    found = connection.execute(
        "SELECT 1 FROM bad_workers WHERE machine = ? AND at >= ?", [machine, since]
    ).fetchone()
    return found is not None


def forget_bad_workers(connection: sqlite3.Connection, node_type: str, *, before: float) -> None:
    """Forgets bad workers from before one that has proved itself."""
    connection.execute(
        "DELETE FROM bad_workers WHERE node_type = ? AND at < ?", [node_type, before]
    )


def failures(connection: sqlite3.Connection, node_type: str) -> tuple[int, float, str]:
    """How many in a row until now, when the last one was, and its reason."""
    rows = connection.execute(
        "SELECT at, arrival, reason FROM launches WHERE node_type = ?1 AND arrival > (SELECT "
        "COALESCE(MAX(arrival), 0) FROM launches WHERE node_type = ?1 AND succeeded = 1) "
        "UNION ALL SELECT at, 0, reason FROM bad_workers WHERE node_type = ?1 "
        "ORDER BY at DESC, arrival DESC",
        [node_type],
    ).fetchall()
    return (len(rows), rows[0]["at"], rows[0]["reason"]) if rows else (0, 0.0, "")
