"""How a design looks in a plot: colour by the sweep's first axis, marker and dash by the others.

The palette is Okabe and Ito's, which colour-blind people can distinguish
(https://jfly.uni-koeln.de/color/); markers repeat the information without colour.
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

from tune_app.journal.records import DIVERGED
from tune_app.plan.labels import axis_name, describe, ordered
from tune_app.results.summary import Design, SweepResults
from tune_app.stopping.all_rules import title_of
from tune_app.stopping.asha import AshaSettings
from tune_app.stopping.kill_rule import KillRule

_Place = Literal["outside lower left", "outside lower center", "outside lower right"]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "<", ">", "p", "h")
DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (2, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (1, 2)))
GREY = "#666666"
FEW = 8
"""Up to this many values have a mark, a tick and a legend entry each."""

_STOP_MARKERS = {AshaSettings.NAME: "x", KillRule.NAME: "+", DIVERGED: "1"}
_OTHER_STOP_MARKERS = ("2", "3", "4", "|", "_")


def stop_marker(rule: str) -> str:
    """The marker of cells stopped by a rule; these are open, those of finished cells filled."""
    # Always the same for a rule, whatever other rules there are.
    other = _OTHER_STOP_MARKERS[sum(rule.encode()) % len(_OTHER_STOP_MARKERS)]
    return _STOP_MARKERS.get(rule, other)


def stop_name(rule: str) -> str:
    """The legend entry of cells stopped by a rule."""
    return f"stopped: {title_of(rule).short}"


def shades(count: int) -> list[str]:
    """Colours for ordered values, dark to light, for lines on white."""
    colours = mpl.colormaps["viridis"]
    return [to_hex(colours(0.82 * index / max(1, count - 1))) for index in range(count)]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure, its file name without suffix, and its caption."""

    name: str
    figure: Figure
    caption: str


@dataclass(frozen=True, kw_only=True)
class Look:
    colour: str
    marker: str
    dash: Any


class Styles:
    """The look of every design of one sweep.

    If the other axes have more combinations than there are markers, all get the same one.
    """

    def __init__(self, results: SweepResults) -> None:
        self._first, self._others = results.axes[:1], results.axes[1:]
        self._colours = _combinations(results, self._first)
        self._marks = _combinations(results, self._others)
        count = len(self._colours)
        self._palette = PALETTE if count <= len(PALETTE) else shades(count)

    def of(self, design: Design) -> Look:
        colour = list(self._colours).index(_key(design.values, self._first))
        mark = list(self._marks).index(_key(design.values, self._others))
        if len(self._marks) > FEW:
            mark = 0
        return Look(
            colour=self._palette[colour], marker=MARKERS[mark], dash=DASHES[mark % len(DASHES)]
        )

    def handles(self) -> list[tuple[str, list[Line2D]]]:
        """Legend entries, a titled group for the colours and one for the marks."""
        groups = []
        colours = list(enumerate(self._colours.values()))
        if len(colours) > FEW:
            # Shades in the order of the values; a few of them are enough.
            colours = [colours[round(step * (len(colours) - 1) / 4)] for step in range(5)]
        if len(colours) > 1:
            lines = [
                handle(label, color=self._palette[index], linewidth=3) for index, label in colours
            ]
            groups.append((axis_name(self._first[0]), lines))
        if 1 < len(self._marks) <= FEW:
            lines = [
                handle(
                    label, color=GREY, marker=MARKERS[index], linestyle=DASHES[index % len(DASHES)]
                )
                for index, label in enumerate(self._marks.values())
            ]
            groups.append((", ".join(map(axis_name, self._others)), lines))
        return groups


def _combinations(results: SweepResults, axes: Sequence[str]) -> dict[str, str]:
    """The legend labels of the axes' combinations that occur, in order."""
    columns = [ordered([design.values.get(axis) for design in results.designs]) for axis in axes]
    places = [{repr(value): place for place, value in enumerate(column)} for column in columns]
    found = {_key(design.values, axes): design.values for design in results.designs}

    def order(key: str) -> list[int]:
        return [place[repr(found[key].get(axis))] for place, axis in zip(places, axes, strict=True)]

    return {key: describe(found[key], axes) for key in sorted(found, key=order)}


def _key(values: Mapping[str, Any], axes: Sequence[str]) -> str:
    return repr([values.get(axis) for axis in axes])


def handle(label: str, **look: Any) -> Line2D:
    """A line for a legend entry, not part of any plot."""
    return Line2D([], [], label=label, **{"linewidth": 1.4, "markersize": 6, **look})


def new_figure(height: float) -> Figure:
    """White and narrow, so that its text stays readable on a phone."""
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
    """Writes a message into empty axes, and hides their scale."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=GREY, fontsize=11)
    axes.tick_params(left=False, labelleft=False)
    axes.grid(False)


def add_legends(figure: Figure, groups: Sequence[tuple[str, Sequence[Line2D]]]) -> None:
    """Up to three titled legends side by side below the plots, where they cover nothing."""
    groups = [(title, lines) for title, lines in groups if lines]
    rows = max((len(lines) for _, lines in groups), default=0)
    blank = handle(" ", linestyle="none")
    places: tuple[_Place, ...] = (
        "outside lower left",
        "outside lower center",
        "outside lower right",
    )
    for (title, lines), place in zip(groups, places, strict=False):
        # Blank entries align the titles, because matplotlib aligns legends at the bottom.
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
