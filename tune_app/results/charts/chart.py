"""A chart as plain values, and what all charts share."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tune_app import formats
from tune_app.results.designs import CellResult
from tune_app.results.plots.style import Styles
from tune_app.results.summary import SweepResults

SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "star")
MOST_NAMED = 24
"""Lines that a legend names."""
GRID = "#e3e7ec"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of the page."""

    name: str
    """Of its element, unique in the page."""
    title: str
    caption: str
    data: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    height: int = 420

    def as_json(self) -> str:
        """For a script element: without NaN, and with nothing that could end the element."""
        text = json.dumps(plain({"data": self.data, "layout": self.layout}), ensure_ascii=False)
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def plain(value: Any) -> Any:
    """JSON has neither NaN nor infinities: they become null, which plotly leaves out."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value


def layout(*, x: str, y: str, **more: Any) -> dict[str, Any]:
    """A layout that also fits a narrow page: the legend is below, the margins are small."""
    axis = {"gridcolor": GRID, "zeroline": False, "automargin": True}
    return {
        "template": "none",
        "margin": {"l": 56, "r": 14, "t": 30, "b": 56},
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#1c2430"},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "namelength": -1},
        "legend": {"orientation": "h", "y": -0.18, "x": 0, "font": {"size": 11}},
        # With a distance of its own a title makes room for itself; else a low chart cuts it off.
        "xaxis": {**axis, "title": {"text": x, "standoff": 10}},
        "yaxis": {**axis, "title": {"text": y}},
        **more,
    }


def text(value: str) -> str:
    """Text that plotly shows as it is: it reads some HTML."""
    return html.escape(formats.one_line(value), quote=False)


def wrapped(value: str, width: int = 60) -> str:
    """Text for a hover label, in lines."""
    lines, line = [], ""
    for word in formats.one_line(value).split(" "):
        if line and len(line) + len(word) >= width:
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line else word
    return "<br>".join(html.escape(one, quote=False) for one in [*lines, line])


def colours(results: SweepResults) -> dict[str, str]:
    """The colour of each design by its label: the one that it has in the static plots."""
    styles = Styles(results)
    return {design.label: styles.of(design).colour for design in results.designs}


def facts(cell: CellResult) -> str:
    """What a cell is, for a hover label."""
    size, table = cell.cell.config or {}, cell.cell.parameters or {}
    return (
        f"{size.get('d_model', '?')} × {size.get('n_layers', '?')}, d_ff {size.get('d_ff', '?')}, "
        f"{formats.parameters(table.get('total'))} parameters"
    )
