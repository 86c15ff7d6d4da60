"""A headline and named facts below it: wrapped at words on a terminal, one line each elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tune_app import formats

_INDENT = 2
_SHORTEST_NAME = 10

Fact = tuple[str, str]
"""Name and text."""


def print_facts(console: Console, head: str, facts: Sequence[Fact]) -> None:
    """Prints them. In a file or a pipe each stays on a line of its own, to be searched."""
    width = max([_SHORTEST_NAME, *(len(name) for name, _ in facts)])
    if not console.is_terminal:
        lines = [f"{'':{_INDENT}}{name:{width}} {formats.one_line(text)}" for name, text in facts]
        text = "\n".join((formats.one_line(head), *lines))
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        return
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=width, no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in facts:
        table.add_row(Text(name), Text(formats.one_line(text)))
    console.print(Text(formats.one_line(head)))
    console.print(Padding(table, (0, 0, 0, _INDENT)))
