"""Tables that fit: on a narrow terminal the least important columns go, the numbers stay whole.

A number that was cut is a wrong number, so only text columns may be shortened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

_GUTTER = 2


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column with all its cells."""

    header: str
    cells: Sequence[Text]
    rank: int
    """0 is never left out; of the others the highest goes first."""
    right: bool = True
    shortened: bool = False
    """Whether its text may be cut with an ellipsis."""

    @property
    def width(self) -> int:
        header = max(Text(line).cell_len for line in self.header.split("\n"))
        return max([header, *(cell.cell_len for cell in self.cells)])

    @property
    def needed(self) -> int:
        return min(self.width, 8) if self.shortened else self.width


@dataclass(frozen=True, kw_only=True)
class FittingTable:
    """A table that chooses its columns when it is drawn. All columns are of one length."""

    columns: Sequence[Column]
    name_left_out: bool = False
    """Whether a line below names the columns that had no room."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        kept = fitting(self.columns, options.max_width)
        table = Table(
            box=None, pad_edge=False, padding=(0, _GUTTER, 0, 0), header_style="dim", expand=False
        )
        for column in kept:
            table.add_column(
                Text(column.header),
                justify="right" if column.right else "left",
                vertical="bottom",
                no_wrap=True,
                overflow="ellipsis" if column.shortened else "crop",
                min_width=None if column.shortened else column.width,
            )
        for row in zip(*(column.cells for column in kept), strict=True):
            table.add_row(*row)
        yield table
        left_out = [column for column in self.columns if column not in kept]
        if self.name_left_out and left_out:
            names = ", ".join(column.header.replace("\n", " ") for column in left_out)
            yield Text(f"no room here for: {names}", style="dim")


def fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns that a line of `width` has room for, in their order.

    Columns of rank 0 are always kept, and so are the others in the order of their rank until one
    has no room.
    """
    kept = [column for column in columns if column.rank == 0]
    room = width - sum(column.needed + _GUTTER for column in kept) + _GUTTER
    for column in sorted(columns, key=lambda column: column.rank):
        if column.rank == 0:
            continue
        room -= column.needed + _GUTTER
        if room < 0:
            break
        kept.append(column)
    return [column for column in columns if column in kept]
