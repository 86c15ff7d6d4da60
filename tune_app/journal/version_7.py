"""Migrates a journal from version 6 to 7: cells may be paused and promoted.

Until then an observation led to at most one decision, and `asha` was the variant that stops cells,
which is `asha-stop` now: a sweep goes on with the rule that it was begun with.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

_RULES = {"asha": "asha-stop"}

_DECISIONS = """
CREATE TABLE decisions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    arrival INTEGER NOT NULL,
    cell TEXT NOT NULL REFERENCES cells (key),
    tokens INTEGER NOT NULL,
    action TEXT NOT NULL,
    rule TEXT NOT NULL,
    reason TEXT NOT NULL,
    evidence TEXT NOT NULL,
    at REAL NOT NULL,
    amendment INTEGER NOT NULL
) STRICT
"""


def with_promotions(connection: sqlite3.Connection) -> None:
    """Converts the tables, in the caller's transaction."""
    connection.execute("ALTER TABLE decisions RENAME TO decisions_6")
    connection.execute(_DECISIONS)
    connection.execute("CREATE INDEX decisions_of_cells ON decisions (cell, tokens)")
    columns = "arrival, cell, tokens, action, rule, reason, evidence, at, amendment"
    connection.execute(
        f"INSERT INTO decisions ({columns}) SELECT {columns} FROM decisions_6 ORDER BY arrival"
    )
    connection.execute("DROP TABLE decisions_6")
    connection.execute("ALTER TABLE failures ADD COLUMN after INTEGER NOT NULL DEFAULT 0")
    for old, new in _RULES.items():
        connection.execute("UPDATE decisions SET rule = ? WHERE rule = ?", [new, old])
    for rowid, text in connection.execute("SELECT rowid, record FROM sweep").fetchall():
        record = json.loads(text)
        record["scheduler"] = _renamed(record["scheduler"])
        connection.execute("UPDATE sweep SET record = ? WHERE rowid = ?", [_dump(record), rowid])
    for number, text in connection.execute("SELECT number, changes FROM amendments").fetchall():
        changes = [
            {**one, "before": _renamed(one["before"]), "after": _renamed(one["after"])}
            if one["name"] == "scheduler"
            else one
            for one in json.loads(text)
        ]
        connection.execute(
            "UPDATE amendments SET changes = ? WHERE number = ?", [json.dumps(changes), number]
        )


def _renamed(scheduler: dict[str, Any]) -> dict[str, Any]:
    name = scheduler.get("name")
    return {**scheduler, "name": _RULES[name]} if name in _RULES else scheduler


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)
