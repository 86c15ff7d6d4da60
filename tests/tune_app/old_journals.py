"""Journals as older versions left them, made from one of today."""

from __future__ import annotations

import sqlite3


def remove_what_version_4_added(connection: sqlite3.Connection) -> None:
    remove_what_version_6_added(connection)
    for table in ("scores", "amendments", "checkpoints"):
        connection.execute(f"DROP TABLE {table}")
    for table in ("cells", "decisions"):
        connection.execute(f"ALTER TABLE {table} DROP COLUMN amendment")


def remove_what_version_7_added(connection: sqlite3.Connection) -> None:
    for table in ("proposals", "rounds"):
        connection.execute(f"DROP TABLE {table}")


def remove_what_version_6_added(connection: sqlite3.Connection) -> None:
    remove_what_version_7_added(connection)
    connection.execute("DROP TABLE evaluations")
