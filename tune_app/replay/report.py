"""The table of a replay."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tune_app.replay.orders import Tally
from tune_app.replay.recorded import Recorded


def table(
    tallies: Sequence[Tally], recorded: Recorded, *, tolerance: float, workers: int
) -> RenderableType:
    """A row a scheduler, and what the columns are."""
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    grid.add_column("scheduler", overflow="fold")
    for name in ("tokens", "hours", "regret", "±", "near", "lost", "false", "orders", "took"):
        grid.add_column(name, justify="right", no_wrap=True)
    for one in tallies:
        false = one.false_kills
        grid.add_row(
            f"{one.name} ",
            f"{one.compute:.1%}",
            f"{one.hours:.2f}",
            f"{one.regret:.4f}",
            f"{one.regret_error:.4f}",
            f"{one.within(tolerance):.1%}",
            f"{one.lost:.1%}",
            "–" if false is None else f"{false:.1%}",
            f"{one.orders:,}",
            f"{one.took:.1f} s",
        )
    dropped = (
        f" {recorded.dropped} more were not trained to their end and are left out."
        if recorded.dropped
        else ""
    )
    said = (
        f"{len(recorded.curves)} cells, {workers} workers.{dropped} tokens: of the grid's. regret: "
        "bits per byte by which the leader ends worse than the best cell, mean, and its standard "
        f"error. near: orders with a regret of at most {tolerance:g}. lost: orders in which the "
        "best cell was not trained to its end. false: of the cells given up, those that end "
        "better than the leader."
    )
    return Group(grid, Text(), Text(said, style="dim"))
