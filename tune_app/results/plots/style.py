"""How a design looks in a plot: colour by the sweep's first axis, marker and dash by the others.

The palette is Okabe and Ito's, which people with colour-blind eyes can tell apart
(https://jfly.uni-koeln.de/color/); the markers say the same again without colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tune_app.records import Rule
from tune_app.results.summary import Design, SweepResults, describe, ordered

_Place = Literal["outside lower left", "outside lower center", "outside lower right"]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "<", ">", "p", "h")
DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (2, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (1, 2)))
GREY = "#666666"

STOP_MARKERS = {Rule.ASHA: "x", Rule.BASELINE: "+", Rule.DIVERGED: "1"}
"""How a cell that a rule ended is marked; the marks are open, a finished cell's is filled."""
STOP_NAMES = {
    Rule.ASHA: "stopped: ASHA",
    Rule.BASELINE: "stopped: kill rule",
    Rule.DIVERGED: "stopped: diverged",
}

AXIS_NAMES = {
    "embedding_ratio": "embedding share",
    "glu_expansion": "feed-forward expansion",
    "output_head": "output head",
    "feed_forward": "feed-forward",
    "learning_rate": "learning rate",
}


def axis_name(axis: str) -> str:
    return AXIS_NAMES.get(axis, axis.replace("_", " "))


def shades(count: int) -> list[str]:
    """Colours for values in an order, dark to light, for lines on white."""
    colours = mpl.colormaps["viridis"]
    return [to_hex(colours(0.82 * index / max(1, count - 1))) for index in range(count)]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure, its file's name without suffix, and the sentence that says how to read it."""

    name: str
    figure: Figure
    caption: str


@dataclass(frozen=True, kw_only=True)
class Look:
    colour: str
    marker: str
    dash: Any


class Styles:
    """The look of every design of one sweep."""

    def __init__(self, results: SweepResults) -> None:
        self._axes = results.axes
        self._colours = self._of_axes(results, self._axes[:1])
        self._marks = self._of_axes(results, self._axes[1:])
        count = len(self._colours)
        self._palette = PALETTE if count <= len(PALETTE) else shades(count)

    @staticmethod
    def _of_axes(results: SweepResults, axes: Sequence[str]) -> dict[str, str]:
        """What a legend calls each combination of the axes' values, by its repr, in order."""
        columns = [
            ordered([design.values.get(axis) for design in results.designs]) for axis in axes
        ]
        ranks = [{repr(value): place for place, value in enumerate(column)} for column in columns]
        found = {repr(_key(design.values, axes)): design.values for design in results.designs}
        rank = {
            key: tuple(r[repr(values.get(axis))] for r, axis in zip(ranks, axes, strict=True))
            for key, values in found.items()
        }
        return {key: describe(found[key], axes) for key in sorted(found, key=rank.__getitem__)}

    def of(self, design: Design) -> Look:
        colour = list(self._colours).index(repr(_key(design.values, self._axes[:1])))
        mark = list(self._marks).index(repr(_key(design.values, self._axes[1:])))
        return Look(
            colour=self._palette[colour % len(self._palette)],
            marker=MARKERS[mark % len(MARKERS)],
            dash=DASHES[mark % len(DASHES)],
        )

    def handles(self) -> list[tuple[str, list[Line2D]]]:
        """Legend entries, a titled group for the colours and one for the marks."""
        groups = []
        if len(self._colours) > 1:
            lines = [
                handle(label, color=self._palette[index % len(self._palette)], linewidth=3)
                for index, label in enumerate(self._colours.values())
            ]
            groups.append((axis_name(self._axes[0]), lines))
        if len(self._marks) > 1:
            lines = [
                handle(
                    label,
                    color=GREY,
                    marker=MARKERS[index % len(MARKERS)],
                    linestyle=DASHES[index % len(DASHES)],
                )
                for index, label in enumerate(self._marks.values())
            ]
            groups.append((", ".join(map(axis_name, self._axes[1:])), lines))
        return groups


def _key(values: Mapping[str, Any], axes: Sequence[str]) -> list[Any]:
    return [values.get(axis) for axis in axes]


def handle(label: str, **look: Any) -> Line2D:
    """A legend entry that is drawn nowhere."""
    return Line2D([], [], label=label, **{"linewidth": 1.4, "markersize": 6, **look})


def new_figure(height: float) -> Figure:
    """White and narrow, so that its text still reads when the picture shrinks to a telephone."""
    figure = Figure(figsize=(5.8, height), dpi=176, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    return figure


def dress(axes: Axes, *, x: str, y: str, title: str | None = None) -> None:
    if title is not None:
        axes.set_title(title, loc="left", fontsize=12, fontweight="bold")
    axes.set_xlabel(x, fontsize=11)
    axes.set_ylabel(y, fontsize=11)
    axes.tick_params(labelsize=10)
    axes.grid(True, color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def say(axes: Axes, text: str) -> None:
    """Axes with nothing to show say so, and have no scale that would mean nothing."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=GREY, fontsize=11)
    axes.tick_params(left=False, labelleft=False)
    axes.grid(False)


def add_legends(figure: Figure, groups: Sequence[tuple[str, Sequence[Line2D]]]) -> None:
    """Titled legends side by side below the plots, where they cover nothing; three at most."""
    groups = [(title, lines) for title, lines in groups if lines]
    rows = max((len(lines) for _, lines in groups), default=0)
    blank = handle(" ", linestyle="none")
    places: tuple[_Place, ...] = (
        "outside lower left",
        "outside lower center",
        "outside lower right",
    )
    for (title, lines), place in zip(groups, places, strict=False):
        # Blank entries keep the titles on one line: matplotlib aligns the legends' feet.
        padding = [blank] * (rows - len(lines)) if len(groups) > 1 else []
        figure.legend(
            handles=[*lines, *padding],
            title=title,
            loc=place,
            ncols=min(4, len(lines)) if len(groups) == 1 else 1,
            fontsize=9.5,
            title_fontproperties={"weight": "bold", "size": 9.5},
            alignment="left",
            frameon=False,
            handlelength=2.4,
            labelspacing=0.35,
        )
