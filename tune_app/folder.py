"""The folder of a sweep: who works in it, and whether it is the sweep that was asked for."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tune_app.journal import Journal
from tune_app.records import SweepRecord

JOURNAL = "journal.sqlite3"

# What two runs of the same sweep may differ in.
_NOT_COMPARED = frozenset({"created_at", "command", "versions"})


class SweepBusy(ValueError):
    """Another process works on the sweep."""


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds the sweep's lock. The operating system frees it when the process ends, however.

    Raises SweepBusy naming who holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / "running.json"
    lock = FileLock(folder / "running.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise SweepBusy(
            f"the sweep in {folder} is already running{_describe(holder)}; "
            "wait for it, end it with Ctrl-C there, or start this one under another --name"
        ) from None
    try:
        holder.write_text(
            json.dumps({"pid": os.getpid(), "host": platform.node(), "since": time.time()}),
            "utf-8",
        )
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _describe(holder: Path) -> str:
    try:
        who = json.loads(holder.read_text("utf-8"))
        since = time.strftime("%H:%M:%S", time.localtime(who["since"]))
        return f" (process {who['pid']} on {who['host']}, since {since})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def differences(wanted: SweepRecord, found: SweepRecord) -> list[str]:
    """What keeps a sweep from being continued: `tokens: 150000 there, 300000 asked`."""
    one, other = asdict(found), asdict(wanted)
    return [
        f"{name}: {_short(one[name])} there, {_short(other[name])} asked"
        for name in one
        if name not in _NOT_COMPARED and one[name] != other[name]
    ]


def check_same_cells(journal: Journal, keys: Mapping[str, str]) -> list[str]:
    """Cells (key → label) of a plan that the journal does not have, and the other way round."""
    there = {cell.key: cell.label for cell in journal.cells()}
    return [f"{keys[key]} is new" for key in keys if key not in there] + [
        f"{there[key]} is gone" for key in there if key not in keys
    ]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "…"
