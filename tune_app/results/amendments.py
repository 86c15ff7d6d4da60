"""What was changed in a sweep after its start, in words."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tune_app.formats import counted
from tune_app.journal.records import Amendment, Change
from tune_app.plan.labels import axis_name, describe_value
from tune_app.stopping.all_rules import describe_scheduler
from tune_app.stopping.kill_rule import KillRule

_MOST_VALUES = 8


def amendment_text(amendment: Amendment, *, tokens: int) -> str:
    """An amendment in one line: `2026-11-28 00:10 UTC: 12 cells added; seeds 0 → 0, 1`.

    tokens: baseline tokens of a trial.
    """
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(amendment.at))
    return f"{at}: {'; '.join(what_changed(amendment, tokens=tokens))}"


def what_changed(amendment: Amendment, *, tokens: int) -> list[str]:
    """Each thing that an amendment changed."""
    counts = ((amendment.added, "added"), (amendment.left_out, "left out"))
    return [
        *(f"{counted(number, 'cell')} {what}" for number, what in counts if number),
        *(change_text(change, tokens=tokens) for change in amendment.changes),
    ]


def change_text(change: Change, *, tokens: int) -> str:
    """A change in words, with both values: `kill rule off → stop at ≥ 0.5 ppl worse …`."""
    before, after = (_value(change.name, value, tokens) for value in (change.before, change.after))
    return f"{axis_name(change.name)} {before} → {after}"


def _value(name: str, value: Any, tokens: int) -> str:
    if name == "scheduler":
        return describe_scheduler(value, tokens)
    if name == "kill_rule":
        return _kill_rule(value, tokens)
    if not isinstance(value, (list, tuple)):
        return str(value)
    shown = [describe_value(name, one) for one in value[:_MOST_VALUES]]
    return ", ".join(shown + ["…"] * (len(value) > _MOST_VALUES)) or "none"


def _kill_rule(record: Mapping[str, Any], tokens: int) -> str:
    try:
        return KillRule.from_record(record).describe(tokens)
    except ValueError:  # of a version that knew other settings
        return ", ".join(f"{name} {value}" for name, value in record.items())
