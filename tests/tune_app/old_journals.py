"""Journals as older versions left them, made from one of today."""

from __future__ import annotations

import sqlite3


def remove_what_version_4_added(connection: sqlite3.Connection) -> None:
    remove_what_version_6_added(connection)
    for table in ("scores", "amendments", "checkpoints"):
        connection.execute(f"DROP TABLE {table}")
    for table in ("cells", "decisions"):
        connection.execute(f"ALTER TABLE {table} DROP COLUMN amendment")


def remove_what_version_6_added(connection: sqlite3.Connection) -> None:
    remove_what_version_7_added(connection)
    connection.execute("DROP TABLE evaluations")


def remove_what_version_7_added(connection: sqlite3.Connection) -> None:
    """With `asha` for the scheduler that was called so."""
    remove_what_version_8_added(connection)
    for table in ("proposals", "rounds"):
        connection.execute(f"DROP TABLE {table}")
    columns = "arrival, cell, tokens, action, rule, reason, evidence, at, amendment"
    connection.execute(f"CREATE TABLE decisions_6 AS SELECT {columns} FROM decisions")
    connection.execute("DROP TABLE decisions")
    connection.execute("ALTER TABLE decisions_6 RENAME TO decisions")
    connection.execute("UPDATE decisions SET rule = 'asha' WHERE rule = 'asha-stop'")
    connection.execute("ALTER TABLE failures DROP COLUMN after")
    connection.execute("UPDATE sweep SET record = replace(record, 'asha-stop', 'asha')")


def remove_what_version_8_added(connection: sqlite3.Connection) -> None:
    remove_what_version_9_added(connection)
    for table in ("runs", "bills"):
        connection.execute(f"DROP TABLE {table}")
    for column in (
        *("worker", "machine", "gpu", "dollars_per_hour", "contract", "run", "ended_at"),
    ):
        connection.execute(f"ALTER TABLE attempts DROP COLUMN {column}")


def remove_what_version_9_added(connection: sqlite3.Connection) -> None:
    remove_what_version_10_added(connection)
    connection.execute("ALTER TABLE runs DROP COLUMN head_dollars_per_hour")


def remove_what_version_10_added(connection: sqlite3.Connection) -> None:
    remove_what_version_11_added(connection)
    for column in ("ended_by", "ended_reason"):
        connection.execute(f"ALTER TABLE runs DROP COLUMN {column}")


def remove_what_version_11_added(connection: sqlite3.Connection) -> None:
    for column in ("cells_per_gpu", "gpu_sharing"):
        connection.execute(f"ALTER TABLE runs DROP COLUMN {column}")
