"""How an object shows itself: some lines and a table, as text or in a notebook."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence

import pandas as pd

from tune_app import formats

_WIDEST = 120
"""Characters of a line of text."""


def shown_text(lines: Sequence[str], table: pd.DataFrame) -> str:
    """The lines, wrapped at words, and the table below them without its index."""
    text = _texts(table).to_string(index=False, line_width=_WIDEST, max_colwidth=_WIDEST // 3)
    head = [textwrap.fill(line, _WIDEST, subsequent_indent="    ") for line in lines]
    return "\n".join([*head, "", text])


def shown_html(lines: Sequence[str], table: pd.DataFrame) -> str:
    """The same as HTML; nothing in it is taken for markup."""
    head = "<br>".join(html.escape(line) for line in lines)
    with pd.option_context("display.max_colwidth", _WIDEST):
        body = _texts(table).to_html(index=False, border=0)
    return f"<p>{head}</p>{body}"


def _texts(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text: four decimals, and nothing where a value is unknown."""

    def text(value: object) -> str:
        if pd.isna(value):  # type: ignore[call-overload]
            return ""
        return f"{value:.4f}" if isinstance(value, float) else formats.one_line(str(value))

    return table.map(text)
