"""Migrates a journal from version 2 to 3: new names, and keys by frozen defaults.

Version 2 wrote width, depth, heads and output head, hashed every setting into a cell's key (so that
each new setting changed all keys), and stored metrics as fields of an observation. Here every name,
rule and key becomes what version 3 writes. A cell's old key is kept beside the new one, since its
checkpoints are stored under it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from tune_app.plan.former_names import SETTINGS, SIZES, renamed
from tune_app.plan.identity import BASELINE, key_of

_RULES = {"baseline": "kill_rule", "budget": "completed"}
_PARTS = {"output head": "lm_head"}
_TOKENIZER = "byte_level_bpe"
"""The only kind at the time; its key is kind and size."""
_METRICS = {
    "reference_tokens": "baseline_tokens",
    "reference_perplexity": "baseline_token_perplexity",
    "whole_bits_per_byte": "full_bits_per_byte",
    "whole_perplexity": "full_perplexity",
}
_TABLES_OF_CELLS = ("observations", "decisions", "failures", "attempts", "heartbeats")


def translate(connection: sqlite3.Connection) -> None:
    """Rewrites every row, in the caller's transaction."""
    # Check references at the end of the transaction: a key changes in several tables.
    connection.execute("PRAGMA defer_foreign_keys = ON")
    keys = _translate_cells(connection)
    for table in _TABLES_OF_CELLS:
        connection.executemany(
            f"UPDATE {table} SET cell = ? WHERE cell = ?",
            [(new, old) for old, new in keys.items()],
        )
    connection.executemany(
        "UPDATE decisions SET rule = ? WHERE rule = ?",
        [(new, old) for old, new in _RULES.items()],
    )
    _rewrite(connection, "sweep", "record", lambda record: _sweep(record, keys))
    _rewrite(connection, "observations", "record", lambda record: _observation(record, keys))


def _translate_cells(connection: sqlite3.Connection) -> dict[str, str]:
    """Rewrites the cells; old key → new key."""
    baseline = json.loads(connection.execute("SELECT record FROM sweep").fetchone()[0])["baseline"]
    of_baseline = connection.execute(
        "SELECT config FROM cells WHERE key = ?", [baseline]
    ).fetchone()[0]
    keys: dict[str, str] = {}
    for row in connection.execute("SELECT * FROM cells").fetchall():
        values = _values(json.loads(row["cell"]))
        keys[row["key"]] = key_of(values)
        connection.execute(
            "UPDATE cells SET key = ?, former_key = ?, cell = ?, config = ?, parameters = ?,"
            " baseline_config = ? WHERE key = ?",
            [
                keys[row["key"]],
                row["key"],
                _dump(values),
                _translated(row["config"], _config),
                _translated(row["parameters"], _parameters),
                # All cells of a sweep share the baseline's model.
                None if row["config"] is None else _translated(of_baseline, _config),
                row["key"],
            ],
        )
    return keys


def _values(old: Mapping[str, Any]) -> dict[str, Any]:
    values = renamed(old, SETTINGS)
    if BASELINE in values:
        values[BASELINE] = renamed(values[BASELINE], SETTINGS)
    return values


def _config(old: Mapping[str, Any]) -> dict[str, Any]:
    return renamed(old, SIZES)


def _parameters(old: Mapping[str, Any]) -> dict[str, Any]:
    rows = [{**row, "part": _PARTS.get(row["part"], row["part"])} for row in old.get("rows", ())]
    return {**old, "rows": rows}


def _sweep(old: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    axes = [SETTINGS.get(axis, axis) for axis in old.get("axes", ())]
    bytes_per_token = {
        f"{_TOKENIZER}-{size}" if size.isdecimal() else size: number
        for size, number in old["bytes_per_token"].items()
    }
    return {
        **old,
        "baseline": keys[old["baseline"]],
        "axes": axes,
        "bytes_per_token": bytes_per_token,
    }


def _observation(old: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    return {**upgraded_observation(old), "cell": keys[old["cell"]]}


def upgraded_observation(old: Mapping[str, Any]) -> dict[str, Any]:
    """Converts an observation that was written with one field per metric to today's form.

    Some of those fields had older names. Values in today's form stay as they are.
    """
    if "metrics" in old:
        return dict(old)
    values = {_METRICS.get(name, name): value for name, value in old.items()}
    kept = {name: values.pop(name) for name in ("cell", "tokens", "baseline_tokens")}
    seconds = values.pop("seconds", {})
    metrics = {name: value for name, value in values.items() if value is not None}
    return {**kept, "metrics": metrics, "seconds": dict(seconds)}


def _rewrite(
    connection: sqlite3.Connection,
    table: str,
    column: str,
    new: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> None:
    for number, text in connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall():
        connection.execute(
            f"UPDATE {table} SET {column} = ? WHERE rowid = ?",
            [_translated(text, new), number],
        )


def _translated(
    text: str | None, new: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> str | None:
    return None if text is None else _dump(new(json.loads(text)))


def _dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)
