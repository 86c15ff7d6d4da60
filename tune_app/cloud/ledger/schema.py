"""The tables of the ledger, and what each version added to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

SCHEMA_VERSION = 4

_FIRST = """
CREATE TABLE cluster (name TEXT NOT NULL, closed TEXT NOT NULL DEFAULT '') STRICT;
CREATE TABLE attempts (
    id TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    node_type TEXT NOT NULL,
    k INTEGER NOT NULL,
    label TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    offer INTEGER NOT NULL,
    machine INTEGER NOT NULL,
    gpu TEXT NOT NULL,
    cpus REAL NOT NULL,
    bid REAL NOT NULL,
    storage_per_hour REAL NOT NULL,
    bandwidth_per_hour REAL NOT NULL,
    setup REAL NOT NULL,
    sent_at REAL NOT NULL,
    contract INTEGER
) STRICT;
CREATE INDEX attempts_by_request ON attempts (request, sent_at);
-- A k belongs to an attempt from before it is sent until nothing of it is left.
CREATE TABLE slots (k INTEGER PRIMARY KEY, attempt TEXT, freed_at REAL) STRICT;
CREATE TABLE instances (
    contract INTEGER PRIMARY KEY,
    attempt TEXT,
    since REAL NOT NULL,
    counted_to REAL NOT NULL,
    status TEXT NOT NULL DEFAULT '',
    silent_since REAL,
    ran INTEGER NOT NULL DEFAULT 0,
    gpu_per_hour REAL NOT NULL,
    storage_per_hour REAL NOT NULL,
    bandwidth_per_hour REAL NOT NULL,
    hours REAL NOT NULL DEFAULT 0,
    gpu_hours REAL NOT NULL DEFAULT 0,
    estimated REAL NOT NULL DEFAULT 0,
    charged REAL,
    charged_at REAL,
    unforeseen REAL NOT NULL DEFAULT 0,
    doomed TEXT NOT NULL DEFAULT '',
    ended_at REAL,
    ended_reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE launches (
    arrival INTEGER PRIMARY KEY AUTOINCREMENT,
    node_type TEXT NOT NULL,
    succeeded INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at REAL NOT NULL
) STRICT;
CREATE TABLE bad_machines (
    machine INTEGER PRIMARY KEY, reason TEXT NOT NULL, at REAL NOT NULL, until REAL NOT NULL
) STRICT;
"""

_ADDED_IN_2 = """
CREATE TABLE bad_workers (
    node_type TEXT NOT NULL,
    machine INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at REAL NOT NULL,
    never_linked INTEGER NOT NULL
) STRICT;
"""

_ADDED_IN_3 = """
ALTER TABLE cluster ADD COLUMN lost TEXT NOT NULL DEFAULT '';
CREATE TABLE credit (
    since REAL NOT NULL,
    credit REAL NOT NULL,
    dropped REAL NOT NULL,
    spent_before REAL NOT NULL,
    others_before REAL NOT NULL,
    others REAL NOT NULL
) STRICT;
CREATE TABLE drains (
    number INTEGER PRIMARY KEY,
    cause TEXT NOT NULL,
    reason TEXT NOT NULL,
    since REAL NOT NULL,
    deadline REAL NOT NULL,
    cap REAL NOT NULL,
    workers INTEGER NOT NULL,
    phase TEXT NOT NULL,
    saved INTEGER NOT NULL,
    ending_since REAL,
    ended_at REAL,
    is_over INTEGER NOT NULL
) STRICT;
-- When the first cell trained on an instance.
CREATE TABLE stays (contract INTEGER PRIMARY KEY, worked_at REAL NOT NULL) STRICT;
"""

_ADDED_IN_4 = """
-- What ends an instance, from when that is decided. NULL before, and where the charges alone are
-- known. Until then it was told by how the reason began.
ALTER TABLE instances ADD COLUMN ended_by TEXT;
UPDATE instances SET ended_by = 'returned' WHERE (ended_at IS NOT NULL OR doomed <> '')
    AND ended_reason NOT GLOB 'known from the charges alone*';
UPDATE instances SET ended_by = 'taken_away' WHERE ended_by = 'returned' AND EXISTS (
    SELECT 1 FROM (SELECT iif(ended_at IS NULL, doomed, ended_reason) AS why)
    WHERE why GLOB 'stopped: outbid*'
    OR why GLOB 'gone, but not ended*'
    OR why GLOB 'its container has ended*'
    OR why GLOB 'offline for*'
    OR why GLOB 'unknown for*'
    OR why GLOB 'nothing came over its link*'
    OR why GLOB 'its link is closed*'
);
"""

_ADDED: Mapping[int, str] = {2: _ADDED_IN_2, 3: _ADDED_IN_3, 4: _ADDED_IN_4}


def create_tables(connection: sqlite3.Connection) -> None:
    """Creates the tables of this version, in the caller's transaction."""
    _execute(connection, _FIRST)
    bring_up(connection, 1)


def bring_up(connection: sqlite3.Connection, version: int) -> None:
    """Adds what a ledger of this version lacks, in the caller's transaction."""
    for number, script in _ADDED.items():
        if number > version:
            _execute(connection, script)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _execute(connection: sqlite3.Connection, script: str) -> None:
    for statement in script.split(";"):
        connection.execute(statement)
