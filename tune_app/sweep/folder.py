"""The folder of a sweep: its lock, and the check that it holds the requested sweep."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from model.spec import ModelConfig
from tune_app.journal.file import is_being_written
from tune_app.journal.journal import Journal
from tune_app.journal.records import SweepRecord
from tune_app.plan.plan import with_corpus_named
from tune_app.plan.rows import PlannedCell

JOURNAL = "journal.sqlite3"
LOCK = "running.lock"

# Fields in which two runs of the same sweep may differ. Renaming the folder renames the sweep.
_NOT_COMPARED = frozenset({"name", "created_at", "command", "versions", "baseline", "test_bytes"})


class SweepBusyError(ValueError):
    """Another process is running the sweep."""


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds the sweep's lock. The operating system frees it however the process ends.

    Raises SweepBusyError, naming the process that holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / "running.json"
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise SweepBusyError(
            f"the sweep in {folder} is already running{_describe(holder)}; "
            "wait for it, stop it with Ctrl-C there, or start this one under another --name"
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


def is_running(folder: Path) -> bool:
    """Whether a live process runs the sweep now: `Journal.is_driven`, without opening it."""
    return is_being_written(folder / JOURNAL)


def _describe(holder: Path) -> str:
    try:
        who = json.loads(holder.read_text("utf-8"))
        since = time.strftime("%H:%M:%S", time.localtime(who["since"]))
        return f" (process {who['pid']} on {who['host']}, since {since})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def as_recorded(
    journal: Journal, wanted: SweepRecord, cells: Sequence[PlannedCell]
) -> tuple[SweepRecord, Sequence[PlannedCell]]:
    """The wanted sweep, with the journal's name for the corpus if its content is the same.

    A corpus that was moved, or is given by another path, is still the same corpus.
    """
    recorded = journal.sweep()
    if recorded.corpus == wanted.corpus or recorded.corpus_sha256 != wanted.corpus_sha256:
        return wanted, cells
    renamed = with_corpus_named(cells, recorded.corpus)
    keys = {old.key: new.key for old, new in zip(cells, renamed, strict=True)}
    baseline = keys[wanted.baseline]
    return replace(wanted, corpus=recorded.corpus, baseline=baseline), renamed


def refuse_another(journal: Journal, wanted: SweepRecord, cells: Sequence[PlannedCell]) -> None:
    """Raises ValueError unless the journal holds exactly the wanted sweep.

    The message names every difference, with the recorded and the requested value.
    """
    one, other = asdict(journal.sweep()), asdict(wanted)
    if one["baseline"] != other["baseline"]:
        # Its values say what its key only sums up; some of them stand in the record too.
        recorded = journal.cell(one["baseline"]).values
        planned = next(cell.values for cell in cells if cell.key == wanted.baseline)
        one, other = {**recorded, **one}, {**planned, **other}
    differing = [
        f"{name} is {_short(one[name])} there, {_short(other.get(name))} here"
        for name in one
        if name not in _NOT_COMPARED and _canonical(one[name]) != _canonical(other.get(name))
    ]
    there = {cell.key: cell.label for cell in journal.cells()}
    here = {cell.key: cell.label for cell in cells}
    if set(there) != set(here) and not differing:
        new = [here[key] for key in here if key not in there]
        differing.append(f"{len(new)} of {len(here)} cells have other values, first {new[0]}")
    if differing:
        raise ValueError(
            f"there is already a different sweep named {wanted.name!r} ({'; '.join(differing)}); "
            "give this one another --name, or use the same settings to continue that one"
        )


def refuse_other_sizes(journal: Journal, cells: Sequence[PlannedCell]) -> None:
    """Raises ValueError if the solver now gives a cell other sizes than the journal records.

    The remaining cells would not be comparable with those already trained. A sweep whose cells
    have all ended is only reported, so it is not refused.
    """
    recorded = journal.cells()
    if all(cell.status.ended for cell in recorded):
        return
    now = {cell.key: cell for cell in cells}
    for cell in recorded:
        _refuse_other(f"cell {cell.label!r}", cell.config, now[cell.key].config)
        # Older versions did not record the baseline's sizes; they are solved when needed.
        if cell.baseline_config is not None:
            _refuse_other(
                f"the baseline of cell {cell.label!r}",
                cell.baseline_config,
                now[cell.key].baseline_config,
            )


def _refuse_other(what: str, then: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> None:
    one = {} if then is None else ModelConfig(**then).values()
    other = {} if now is None else ModelConfig(**now).values()
    differing = [name for name in one | other if one.get(name) != other.get(name)]
    if differing:
        raise ValueError(
            f"{what} was planned with {_sizes(one, differing)}, but this version of Stellux solves "
            f"it to {_sizes(other, differing)}; continue the sweep with the version that "
            "started it, or start a new one under another --name"
        )


def _sizes(config: Mapping[str, Any], names: Sequence[str]) -> str:
    if not config:
        return "no sizes at all"
    return ", ".join(f"{name} {config[name]}" for name in names)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "…"


def _canonical(value: Any) -> str:
    """The same text for a value and its copy from the journal, where tuples have become lists."""
    return json.dumps(value, sort_keys=True)
