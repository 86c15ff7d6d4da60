"""The table of the sweeps in a results folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from tune_app import formats
from tune_app.terminal.columns import Column, FittingTable

_STYLES = {"running": "cyan", "done": "green", "failed": "red", "unfinished": "yellow"}


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """A sweep in a results folder."""

    folder: Path
    """Its name is the one by which the commands know the sweep."""
    state: str = ""
    """What it does now, or in which state it was left."""
    done: int = 0
    """Cells that are trained or were stopped."""
    cells: int = 0
    """Those that are to be trained at all."""
    leader: str = ""
    """Label of the design that leads; empty if no cell has finished."""
    created_at: float = 0.0
    """Seconds since the epoch."""
    problem: str = ""
    """Why its journal cannot be read; empty if it can."""


def sweeps_table(rows: Sequence[SweepRow]) -> RenderableType:
    """One line per sweep, in the given order, then those that cannot be read."""
    readable = [row for row in rows if not row.problem]
    parts: list[RenderableType] = []
    if readable:
        parts.append(FittingTable(columns=_columns(readable), name_left_out=True))
    broken = [row for row in rows if row.problem]
    if readable and broken:
        parts.append(Text())
    parts += [
        Text.assemble(
            (formats.one_line(row.folder.name), "red"), f"  cannot be read: {row.problem}"
        )
        for row in broken
    ]
    return Group(*parts)


def _columns(rows: Sequence[SweepRow]) -> list[Column]:
    when = [time.strftime("%Y-%m-%d %H:%M", time.localtime(row.created_at)) for row in rows]
    return [
        Column.names("sweep", [row.folder.name for row in rows]),
        Column(
            header="state",
            cells=[Text(row.state, _STYLES.get(row.state, "dim")) for row in rows],
            rank=1,
            right=False,
        ),
        Column.numbers("cells done", [f"{row.done}/{row.cells}" for row in rows], rank=2),
        Column(
            header="leader",
            cells=[Text(formats.one_line(row.leader) or formats.UNKNOWN) for row in rows],
            rank=3,
            right=False,
            shortened=True,
        ),
        Column.numbers("started", when, rank=4),
        Column(
            header="folder",
            cells=[Text(formats.one_line(str(row.folder))) for row in rows],
            rank=5,
            right=False,
        ),
    ]
