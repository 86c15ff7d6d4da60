"""How a design looks in a plot: colour by the sweep's first axis, marker and dash by others.

The palette is Okabe and Ito's, which colour-blind people can distinguish
(https://jfly.uni-koeln.de/color/); markers repeat the information without colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tune_app.journal.records import DIVERGED
from tune_app.plan.labels import axis_name, ordered
from tune_app.results.designs import Design
from tune_app.results.plots.legends import MARGIN, handle
from tune_app.results.summary import SweepResults
from tune_app.results.verdict import noise_text
from tune_app.statistics.noise import margin
from tune_app.stopping.all_rules import title_of
from tune_app.stopping.asha import AshaSettings
from tune_app.stopping.asha_stop import AshaStopSettings
from tune_app.stopping.kill_rule import KillRule

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "<", ">", "p", "h")
DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (2, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (1, 2)))
GREY = "#666666"
FEW = 8
"""Up to this many values have a mark, a tick and a legend entry each."""

NUISANCE_CAPTION = (
    "A design is shown at its chosen nuisance value; the thin line is its spread over all of them."
)

NOISE: Any = {"color": "#0072B2", "alpha": 0.10, "linewidth": 0, "zorder": 0}
"""Of the band above the leader."""

_STOP_MARKERS = {
    AshaSettings.NAME: "x",
    AshaStopSettings.NAME: "x",
    KillRule.NAME: "+",
    DIVERGED: "1",
}
_OTHER_STOP_MARKERS = ("2", "3", "4", "|", "_")


def stop_marker(rule: str) -> str:
    """The marker of cells that a rule ended early; open, those of finished ones are filled."""
    # Always the same for a rule, whatever other rules there are.
    other = _OTHER_STOP_MARKERS[sum(rule.encode()) % len(_OTHER_STOP_MARKERS)]
    return _STOP_MARKERS.get(rule, other)


def stop_name(rule: str) -> str:
    """The legend entry of cells stopped or paused by a rule."""
    title = title_of(rule)
    return f"{title.verb}: {title.short}"


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


_APART = Look(colour="#000000", marker="*", dash="-")


class Styles:
    """The look of every design of one sweep.

    Colours are by the first of the axes. Markers and dashes are by the combinations of the others;
    if there are more combinations than markers, markers are by the second axis and dashes by the
    third. A baseline with values outside the axes has a look of its own.

    Args:
        results: of the sweep.
        axes: those that the look depends on; all by default.
    """

    def __init__(self, results: SweepResults, axes: Sequence[str] | None = None) -> None:
        self._names = results.names
        chosen = tuple(results.axes if axes is None else axes)
        if results.sweep.search:  # no two designs share the rest: a legend would list them all
            chosen = chosen[:1]
        self._colours = _Channel(results, chosen[:1])
        # One axis alone has its markers too, so that colours are not all that tells it.
        others = _Channel(results, chosen[1:] or chosen)
        if len(others) <= FEW:
            self._marks = self._dashes = others
        else:
            self._marks, self._dashes = (_Channel(results, chosen[at : at + 1]) for at in (1, 2))
        own = chosen[:1] == results.axes[:1] and len(self._colours) <= len(PALETTE)
        # Only the sweep's first axis has the palette, so that blue never means a share in one plot
        # and an expansion in the next.
        self._palette = PALETTE if own else shades(len(self._colours))
        self._apart = sorted({text for d in results.designs if (text := self.apart(d))})

    def apart(self, design: Design) -> str:
        """The values of a design outside the axes, or empty."""
        return self._names.off_axes(design.values)

    def of(self, design: Design) -> Look:
        if self.apart(design):
            return _APART
        return Look(
            colour=self._palette[self._colours.place(design)],
            marker=_entry(MARKERS, self._marks.place(design), self._marks),
            dash=_entry(DASHES, self._dashes.place(design), self._dashes),
        )

    def rank(self, design: Design) -> tuple[bool, int, int, int]:
        """The place of a design's look among all of them, in the order of the axes' values."""
        channels = (self._colours, self._marks, self._dashes)
        first, second, third = (channel.place(design) for channel in channels)
        return bool(self.apart(design)), first, second, third

    def handles(self) -> list[tuple[str, list[Line2D]]]:
        """Legend entries: a titled group for the colours, for the markers and for the dashes."""
        groups = []
        colours = list(enumerate(self._colours.labels))
        if len(colours) > FEW:
            # Shades in the order of the values; a few of them are enough.
            colours = [colours[round(step * (len(colours) - 1) / 4)] for step in range(5)]
        alone = self._marks.axes == self._colours.axes
        if len(colours) > 1:
            looks = [
                {"marker": _entry(MARKERS, index, self._marks), "linewidth": 1.8}
                if alone
                else {"linewidth": 3}
                for index, _ in colours
            ]
            groups.append(
                (
                    self._colours.title,
                    [
                        handle(label, color=self._palette[index], **look)
                        for (index, label), look in zip(colours, looks, strict=True)
                    ],
                )
            )
        if not alone and 1 < len(self._marks) <= FEW:
            lines = [
                handle(
                    label,
                    color=GREY,
                    marker=MARKERS[index],
                    linestyle=DASHES[index % len(DASHES)]
                    if self._dashes is self._marks
                    else "none",
                )
                for index, label in enumerate(self._marks.labels)
            ]
            groups.append((self._marks.title, lines))
        if self._dashes is not self._marks and 1 < len(self._dashes) <= FEW:
            lines = [
                handle(label, color=GREY, linestyle=DASHES[index % len(DASHES)])
                for index, label in enumerate(self._dashes.labels)
            ]
            groups.append((self._dashes.title, lines))
        if self._apart:
            star = {"color": _APART.colour, "marker": _APART.marker, "markersize": 9}
            groups.append(("baseline", [handle(text, **star) for text in self._apart]))
        return groups


class _Channel:
    """The combinations of some axes' values, in order: what a colour or a marker stands for."""

    def __init__(self, results: SweepResults, axes: Sequence[str]) -> None:
        self.axes = tuple(axes)
        self.title = ", ".join(map(axis_name, axes))
        inside = [d.values for d in results.designs if not results.names.off_axes(d.values)]
        columns = [ordered([values.get(axis) for values in inside]) for axis in axes]
        places = [{repr(value): place for place, value in enumerate(column)} for column in columns]
        found = {self._key(values): values for values in inside}

        def order(key: str) -> list[int]:
            pairs = zip(places, axes, strict=True)
            return [place[repr(found[key].get(axis))] for place, axis in pairs]

        keys = sorted(found, key=order)
        self._places = {key: place for place, key in enumerate(keys)}
        self.labels = [results.names.combination(found[key], axes) for key in keys]

    def __len__(self) -> int:
        return len(self._places)

    def place(self, design: Design) -> int:
        return self._places.get(self._key(design.values), 0)

    def _key(self, values: Mapping[str, Any]) -> str:
        return repr([values.get(axis) for axis in self.axes])


def _entry(looks: Sequence[Any], place: int, channel: _Channel) -> Any:
    """The look of a combination; all have the first one if there are too many to tell apart."""
    return looks[place % len(looks)] if len(channel) <= FEW else looks[0]


def draw_spread(axes: Axes, place: float, design: Design, colour: str) -> None:
    """A thin line from the best to the worst of a design's nuisance values, if it has several."""
    if design.spread is not None:
        low, high = design.spread
        axes.plot([place, place], [low, high], color=colour, linewidth=1.0, alpha=0.5, zorder=2)


def draw_noise(axes: Axes, results: SweepResults) -> list[tuple[str, list[Any]]]:
    """A band above the leader, as wide as designs with as many seeds are not told apart from it.

    Returns its legend, empty if the noise is unknown or nothing is compared.
    """
    contest = results.contest
    leader = contest.leader
    if contest.noise is None or leader is None or leader.mean is None or not contest.margins:
        return []
    seeds = len(leader.scores)
    band = margin(0.0, seeds=seeds, other_seeds=seeds, noise=contest.noise)
    axes.axhspan(leader.mean, leader.mean + band.limit * band.unit, **NOISE)
    label = f"within {band.limit:.2g} σ of the leader (σ = {band.unit:.4f})"
    hollow = handle(
        "not told apart from it", color=GREY, marker="o", linestyle="none", **hollow_look()
    )
    return [("noise", [Patch(label=label, **NOISE), hollow])]


def hollow_look() -> dict[str, Any]:
    """How a mark looks that is not told apart from the leader; a stopped cell's is a cross."""
    return {"markerfacecolor": "white", "markeredgewidth": 1.6, "zorder": 5}


def marked(results: SweepResults, design: Design) -> dict[str, Any]:
    """What its place in the contest adds to the look of a design's mark."""
    return hollow_look() if results.contest.told_apart(design) is False else {}


def noise_caption(results: SweepResults) -> str:
    """A sentence on the band and the hollow marks; empty if there are none."""
    noise, leader = results.contest.noise, results.leader
    if noise is None or leader is None or not results.contest.margins:
        return ""
    told = noise_text(noise, seeds=len(leader.scores))
    return f" Hollow marks are not told apart from the leader: {told}."


def new_figure(height: float) -> Figure:
    """White and narrow, so that its text stays readable on a phone."""
    figure = Figure(figsize=(5.8, height), dpi=176, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=MARGIN, h_pad=MARGIN)
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
