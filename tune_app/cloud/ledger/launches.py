"""Launches that came to nothing, as the ledger's tables have them: by an error, or by a bad worker.

A launch that was refused is forgotten with the next that rents something. A worker that was no good
is not: the API rents the next one as gladly. It is forgotten when a later one has proved itself.
"""

from __future__ import annotations

import sqlite3


def add_launch(
    connection: sqlite3.Connection, node_type: str, *, succeeded: bool, reason: str, now: float
) -> None:
    """Writes that a request rented something, or nothing."""
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
    """Writes that what was rented on a machine was no good."""
    connection.execute(
        "INSERT INTO bad_workers (node_type, machine, reason, at, never_linked) "
        "VALUES (?, ?, ?, ?, ?)",
        [node_type, machine, reason, now, int(never_linked)],
    )


def machines_never_linked(connection: sqlite3.Connection) -> int:
    """On how many machines a worker's link never opened, since one did."""
    found = connection.execute(
        "SELECT COUNT(DISTINCT machine) FROM bad_workers WHERE never_linked = 1"
    ).fetchone()
    return int(found[0])


def link_opened(connection: sqlite3.Connection) -> None:
    """The head can be reached: whose link never opened had itself to blame."""
    connection.execute("UPDATE bad_workers SET never_linked = 0 WHERE never_linked = 1")


def is_bad_worker(connection: sqlite3.Connection, machine: int, *, since: float) -> bool:
    """Whether what was rented then on a machine is written as no good."""
    found = connection.execute(
        "SELECT 1 FROM bad_workers WHERE machine = ? AND at >= ?", [machine, since]
    ).fetchone()
    return found is not None


def forget_bad_workers(connection: sqlite3.Connection, node_type: str, *, before: float) -> None:
    """One that was rented then has proved itself."""
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
