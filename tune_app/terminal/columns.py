"""Tables that fit: a narrow terminal drops the least important columns, numbers stay whole.

A truncated number is a wrong number, so only text columns may be shortened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from tune_app import formats
from tune_app.plan.shortening import narrowed

_GUTTERS = (2, 1)
"""Spaces between columns; the wider gutter if all columns fit with it."""
_SHORTEST = 24
"""Minimum width of a shortened column, in characters."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column with all its cells."""

    header: str
    cells: Sequence[Text]
    rank: int
    """Columns of rank 0 are never dropped; of the others the highest rank is dropped first."""
    right: bool = True
    shortened: bool = False
    """Whether its text may be truncated with an ellipsis."""

    @classmethod
    def names(cls, header: str, names: Sequence[str | Text]) -> Column:
        """The first column, which names the row. It may be shortened, but is never dropped."""
        cells = [Text(formats.one_line(name)) if isinstance(name, str) else name for name in names]
        return cls(header=header, cells=cells, rank=0, right=False, shortened=True)

    @classmethod
    def numbers(cls, header: str, numbers: Sequence[str | Text], *, rank: int) -> Column:
        cells = [Text(number) if isinstance(number, str) else number for number in numbers]
        return cls(header=header, cells=cells, rank=rank)

    @property
    def width(self) -> int:
        header = max(Text(line).cell_len for line in self.header.split("\n"))
        return max([header, *(cell.cell_len for cell in self.cells)])

    def within(self, width: int) -> Sequence[Text]:
        """The cells in a column of this width; shortened ones stay different from each other."""
        if not self.shortened or self.width <= width:
            return self.cells
        texts = narrowed([cell.plain for cell in self.cells], width)
        return [Text(text, cell.style) for text, cell in zip(texts, self.cells, strict=True)]

    @property
    def needed(self) -> int:
        """Minimum width of the column."""
        return min(self.width, _SHORTEST) if self.shortened else self.width


@dataclass(frozen=True, kw_only=True)
class FittingTable:
    """A table that chooses its columns when drawn. All columns have the same length."""

    columns: Sequence[Column]
    name_left_out: bool = False
    """Whether a line below lists the dropped columns."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        gutter, kept = fitting(self.columns, options.max_width)
        spare = options.max_width - _line(kept, gutter)
        table = Table(box=None, pad_edge=False, padding=(0, gutter, 0, 0), header_style="dim")
        for column in kept:
            grown = max(0, min(column.width - column.needed, spare))
            spare -= grown
            table.add_column(
                Text(column.header),
                justify="right" if column.right else "left",
                vertical="bottom",
                no_wrap=True,
                overflow="ellipsis",
                width=column.needed + grown,
            )
        widths = [column.width or 0 for column in table.columns]
        texts = [column.within(width) for column, width in zip(kept, widths, strict=True)]
        for row in zip(*texts, strict=True):
            table.add_row(*row)
        yield table
        left_out = [column for column in self.columns if column not in kept]
        if self.name_left_out and left_out:
            names = ", ".join(column.header.replace("\n", " ") for column in left_out)
            yield Text(f"not shown for lack of width: {names}", style="dim")


def fitting(columns: Sequence[Column], width: int) -> tuple[int, list[Column]]:
    """The gutter, and the columns that fit into a line of `width` characters.

    Columns of rank 0 are always kept, the others by rank until one does not fit. The result keeps
    the order of `columns`.
    """
    for gutter in _GUTTERS:
        if _line(columns, gutter) <= width:
            return gutter, list(columns)
    kept = [column for column in columns if column.rank == 0]
    for column in sorted(columns, key=lambda column: column.rank):
        if column.rank == 0:
            continue
        if _line([*kept, column], gutter) > width:
            break
        kept.append(column)
    return gutter, [column for column in columns if column in kept]


def _line(columns: Sequence[Column], gutter: int) -> int:
    """Width of a line with these columns, in characters."""
    return sum(column.needed for column in columns) + gutter * (len(columns) - 1)
