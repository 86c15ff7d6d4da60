"""Legends below the plots, and text that is drawn as it is."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

MARGIN = 0.1
"""Around a figure, in inches."""
_LINE = 60
"""Letters of a legend in a line of the figure, about."""


def literal(text: str) -> str:
    """Text that Matplotlib draws as it is: no formulas between dollar signs, no hidden labels."""
    escaped = text.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def handle(label: str, **look: Any) -> Line2D:
    """A line for a legend entry, not part of any plot."""
    return Line2D(
        [],
        [],
        label=literal(textwrap.fill(label, _LINE)),
        **{"linewidth": 1.4, "markersize": 6, **look},
    )


def add_legends(figure: Figure, groups: Sequence[tuple[str, Sequence[Artist]]]) -> None:
    """Titled legends below the plots, where they cover nothing; the figure grows by their height.

    They stand side by side if they fit, else below each other, in as many columns as fit.
    """
    groups = [(title, lines) for title, lines in groups if lines]
    dpi, height = figure.dpi, figure.get_figheight()
    room = figure.get_figwidth() - 2 * MARGIN

    def size(legend: Legend) -> tuple[float, float]:
        """Width and height, in inches, of whole pixels."""
        extent = legend.get_window_extent()
        return math.ceil(extent.width) / dpi, math.ceil(extent.height) / dpi

    rows = [[_legend(figure, title, lines, columns=1) for title, lines in groups]]
    if len(groups) == 1 or sum(size(legend)[0] for legend in rows[0]) > room:
        for legend in rows[0]:
            legend.remove()
        rows = []
        for title, lines in groups:
            for columns in range(min(4, len(lines)), 0, -1):
                legend = _legend(figure, title, lines, columns=columns)
                if columns == 1 or size(legend)[0] <= room:
                    break
                legend.remove()
            rows.append([legend])
    heights = [max((size(legend)[1] for legend in row), default=0.0) for row in rows]
    whole = height + sum(heights)
    figure.set_figheight(whole)
    top = sum(heights)
    for row, own in zip(rows, heights, strict=True):
        spare = max(0.0, room - sum(size(legend)[0] for legend in row)) / max(1, len(row) - 1)
        left = MARGIN
        for legend in row:
            legend.set_bbox_to_anchor(
                (left / figure.get_figwidth(), top / whole), transform=figure.transFigure
            )
            left += size(legend)[0] + spare
        top -= own
    share = sum(heights) / whole
    figure.set_layout_engine(
        "constrained", w_pad=MARGIN, h_pad=MARGIN, rect=(0, share, 1, 1 - share)
    )


def _legend(figure: Figure, title: str, lines: Sequence[Artist], *, columns: int) -> Legend:
    return figure.legend(
        handles=list(lines),
        title=literal(textwrap.fill(title, _LINE)),
        loc="upper left",
        ncols=columns,
        fontsize=9.5,
        title_fontproperties={"weight": "bold", "size": 9.5},
        alignment="left",
        frameon=False,
        handlelength=2.4,
        labelspacing=0.35,
        borderaxespad=0.0,
    )
