"""The tables of a journal, and the migration of older journals.

Each version has one step, a function that converts the tables of the version before. A step is
never changed once a release has written journals with it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable

from tune_app.journal.version_3 import translate
from tune_app.journal.version_7 import with_promotions

SCHEMA_VERSION = 11

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
-- `arrival` is the order in which the driver wrote the rows (clocks jump): ASHA replays in it.
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
"""

_ADDED_TO_CELLS_IN_3 = ("baseline_config TEXT", "former_key TEXT")

_ADDED_IN_2 = """
CREATE TABLE failures (
    arrival INTEGER PRIMARY KEY AUTOINCREMENT,
    cell TEXT NOT NULL REFERENCES cells (key),
    kind TEXT NOT NULL,
    reason TEXT NOT NULL,
    traceback TEXT NOT NULL,
    ended INTEGER NOT NULL,
    at REAL NOT NULL,
    host TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    cause TEXT NOT NULL,
    remedy TEXT NOT NULL
) STRICT;
CREATE TABLE attempts (
    arrival INTEGER PRIMARY KEY AUTOINCREMENT,
    cell TEXT NOT NULL REFERENCES cells (key),
    number INTEGER NOT NULL,
    host TEXT NOT NULL,
    started_at REAL NOT NULL,
    resumed_from INTEGER,
    UNIQUE (cell, number)
) STRICT;
CREATE TABLE heartbeats (
    cell TEXT PRIMARY KEY REFERENCES cells (key),
    tokens INTEGER NOT NULL,
    host TEXT NOT NULL,
    at REAL NOT NULL
) STRICT;
"""

_ADDED_IN_4 = """
CREATE TABLE scores (
    arrival INTEGER PRIMARY KEY AUTOINCREMENT,
    cell TEXT NOT NULL REFERENCES cells (key),
    split TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    bits_per_byte REAL NOT NULL,
    perplexity REAL NOT NULL,
    text_bytes INTEGER NOT NULL,
    at REAL NOT NULL,
    UNIQUE (cell, split)
) STRICT;
-- `arrival` is that of the last observation before the amendment, 0 for none.
CREATE TABLE amendments (
    number INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    arrival INTEGER NOT NULL,
    command TEXT NOT NULL,
    changes TEXT NOT NULL,
    added INTEGER NOT NULL,
    left_out INTEGER NOT NULL
) STRICT;
ALTER TABLE cells ADD COLUMN amendment INTEGER NOT NULL DEFAULT 0;
ALTER TABLE decisions ADD COLUMN amendment INTEGER NOT NULL DEFAULT 0;
CREATE TABLE checkpoints (
    cell TEXT PRIMARY KEY REFERENCES cells (key),
    url TEXT NOT NULL,
    at REAL NOT NULL
) STRICT;
"""

_ADDED_IN_6 = """
CREATE TABLE evaluations (
    arrival INTEGER PRIMARY KEY AUTOINCREMENT,
    cell TEXT NOT NULL REFERENCES cells (key),
    suite TEXT NOT NULL,
    split TEXT NOT NULL,
    metrics TEXT NOT NULL,
    notes TEXT NOT NULL,
    at REAL NOT NULL,
    UNIQUE (cell, suite, split)
) STRICT;
"""

_ADDED_IN_7 = """
-- What a search proposed, written before any of it is trained, and what it was told.
CREATE TABLE rounds (
    number INTEGER PRIMARY KEY,
    search TEXT NOT NULL,
    told TEXT NOT NULL,
    at REAL NOT NULL
) STRICT;
CREATE TABLE proposals (
    number INTEGER PRIMARY KEY,
    round INTEGER NOT NULL REFERENCES rounds (number),
    chosen TEXT NOT NULL,
    cell TEXT REFERENCES cells (key),
    refused TEXT NOT NULL
) STRICT;
"""

_ADDED_IN_8 = """
-- Runs of the driver: while none goes on, what a cluster costs is not the sweep's.
CREATE TABLE runs (
    number INTEGER PRIMARY KEY,
    started_at REAL NOT NULL,
    until REAL NOT NULL,
    dollars_per_hour REAL
) STRICT;
CREATE TABLE bills (cluster TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
ALTER TABLE attempts ADD COLUMN worker INTEGER;
ALTER TABLE attempts ADD COLUMN machine TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN gpu TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN dollars_per_hour REAL;
ALTER TABLE attempts ADD COLUMN contract INTEGER;
ALTER TABLE attempts ADD COLUMN run INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN ended_at REAL;
"""

_ADDED_IN_9 = """
ALTER TABLE runs ADD COLUMN head_dollars_per_hour REAL;
"""

_ADDED_IN_10 = """
-- NULL while a run goes on, and where it is unknown: of one that was killed, or an older version's.
ALTER TABLE runs ADD COLUMN ended_by TEXT;
ALTER TABLE runs ADD COLUMN ended_reason TEXT NOT NULL DEFAULT '';
"""

_ADDED_IN_11 = """
-- How many cells shared each GPU in a run of the driver (NULL if it was not decided), and why.
ALTER TABLE runs ADD COLUMN cells_per_gpu INTEGER;
ALTER TABLE runs ADD COLUMN gpu_sharing TEXT NOT NULL DEFAULT '';
"""


def create_tables(connection: sqlite3.Connection) -> None:
    """Creates the tables of this version, in the caller's transaction."""
    _execute(connection, _SCHEMA + _ADDED_IN_2)
    _add_columns_of_3(connection)
    _to_version_4(connection)
    _to_version_5(connection)
    _to_version_6(connection)
    _to_version_7(connection)
    _to_version_8(connection)
    _to_version_9(connection)
    _to_version_10(connection)
    _to_version_11(connection)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def upgrade(connection: sqlite3.Connection) -> None:
    """Runs every step from the file's version to this one, in the caller's transaction."""
    version = version_of(connection)
    for step in _STEPS[version - 1 :]:
        step(connection)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def version_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _to_version_2(connection: sqlite3.Connection) -> None:
    """Failures get a class and an order; attempts and heartbeats are added.

    Version 1 had two kinds of failure, an exception in the trial and a process lost too often,
    which only their last line tells apart. A NaN or infinite loss was a decision without a failure.
    """
    connection.execute("ALTER TABLE failures RENAME TO failures_1")
    _execute(connection, _ADDED_IN_2)
    connection.execute(
        "INSERT INTO failures (cell, kind, reason, traceback, ended, at, host, tokens, cause,"
        " remedy)"
        " SELECT cell, CASE WHEN reason LIKE 'its process was lost%' THEN 'host' ELSE 'code' END,"
        "  reason, traceback, 1, at AS moment, '', 0, '', '' FROM failures_1"
        " UNION ALL"
        " SELECT cell, 'numbers', reason, '', 1, at AS moment, '', tokens, '', '' FROM decisions"
        "  WHERE rule = 'diverged' AND action = 'stop'"
        " ORDER BY moment"
    )
    connection.execute("DROP TABLE failures_1")


def _to_version_3(connection: sqlite3.Connection) -> None:
    """New names, keys that hash differences from frozen defaults, and metrics by name."""
    _add_columns_of_3(connection)
    translate(connection)


def _add_columns_of_3(connection: sqlite3.Connection) -> None:
    for column in _ADDED_TO_CELLS_IN_3:
        connection.execute(f"ALTER TABLE cells ADD COLUMN {column}")


def _to_version_4(connection: sqlite3.Connection) -> None:
    """Scores on a held-out split, the newest checkpoints and amendments are added: by which one a
    cell was added, and by the rules of which one a decision was made (0: the first command)."""
    _execute(connection, _ADDED_IN_4)


def _to_version_5(connection: sqlite3.Connection) -> None:
    """A sweep's record names its nuisance axes and its paired ones; before there were none."""
    for row in connection.execute("SELECT rowid, record FROM sweep").fetchall():
        record = {**json.loads(row[1]), "nuisance": [], "paired": []}
        text = json.dumps(record, sort_keys=True)
        connection.execute("UPDATE sweep SET record = ? WHERE rowid = ?", [text, row[0]])


def _to_version_6(connection: sqlite3.Connection) -> None:
    """What a finished cell is worth, by suite and split, is added."""
    _execute(connection, _ADDED_IN_6)


def _to_version_7(connection: sqlite3.Connection) -> None:
    """A sweep's record says which phase of a study it is, and what it searches; the proposals of a
    search are added, by round. Before there were neither. An observation may lead to several
    decisions, as paused cells go on; ASHA that stops cells gets another name."""
    for row in connection.execute("SELECT rowid, record FROM sweep").fetchall():
        record = {**json.loads(row[1]), "origin": {}, "search": {}}
        text = json.dumps(record, sort_keys=True)
        connection.execute("UPDATE sweep SET record = ? WHERE rowid = ?", [text, row[0]])
    _execute(connection, _ADDED_IN_7)
    with_promotions(connection)


def _to_version_8(connection: sqlite3.Connection) -> None:
    """What machines cost is added: runs, bills, and where and until when each attempt trained.
    Of earlier attempts none of it is known."""
    _execute(connection, _ADDED_IN_8)


def _to_version_9(connection: sqlite3.Connection) -> None:
    """What the cluster's head costs is added to each run. Of earlier runs it is not known."""
    _execute(connection, _ADDED_IN_9)


def _to_version_10(connection: sqlite3.Connection) -> None:
    """What ended each run is added, and why. Of earlier runs it is not known."""
    _execute(connection, _ADDED_IN_10)


def _to_version_11(connection: sqlite3.Connection) -> None:
    """How many cells share a GPU is added to each run. Of earlier runs it is not known."""
    _execute(connection, _ADDED_IN_11)


_STEPS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _to_version_2,
    _to_version_3,
    _to_version_4,
    _to_version_5,
    _to_version_6,
    _to_version_7,
    _to_version_8,
    _to_version_9,
    _to_version_10,
    _to_version_11,
)


def _execute(connection: sqlite3.Connection, statements: str) -> None:
    """Runs several statements; executescript would end the caller's transaction."""
    for statement in statements.split(";"):
        connection.execute(statement)
