"""Final bits per byte by one axis of the sweep, one line per combination of the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from tune_app.journal.records import Status
from tune_app.plan.labels import axis_name, describe, describe_value, is_number, ordered
from tune_app.results.plots.style import (
    DASHES,
    FEW,
    GREY,
    MARKERS,
    PALETTE,
    Plot,
    add_legends,
    dress,
    handle,
    new_figure,
    say,
    shades,
)
from tune_app.results.summary import Design, SweepResults


@dataclass(frozen=True, kw_only=True)
class _Line:
    label: str
    designs: tuple[Design, ...]
    look: Mapping[str, Any]


def axis_plot(results: SweepResults, axis: str) -> Plot:
    name = axis_name(axis)
    values = ordered([design.values.get(axis) for design in results.designs])
    numeric = all(map(is_number, values))
    places = {repr(value): value if numeric else place for place, value in enumerate(values)}
    lines = _lines(results, axis)
    stopped = results.with_status(Status.STOPPED)
    figure = new_figure(height=5.0 if stopped else 4.6)
    if stopped:
        height = 0.06 * min(len(lines), FEW) + 0.06
        strip, axes = figure.subplots(2, 1, sharex=True, height_ratios=[height, 1])
        _mark_stopped(strip, lines, axis, places)
    else:
        axes = strip = figure.add_subplot()
    dress(axes, x=name, y="bits per byte (full dev split)")
    strip.set_title(f"Bits per byte by {name}", loc="left", fontsize=12, fontweight="bold")
    for line in lines:
        along = [places[repr(design.values.get(axis))] for design in line.designs]
        # NaN breaks the line at a design without a value, since nothing is known there.
        means = [math.nan if design.mean is None else design.mean for design in line.designs]
        axes.plot(along, means, **line.look)
        for place, design in zip(along, line.designs, strict=True):
            if len(design.cells) > 1:
                scores = list(design.scores.values())
                seed = {**line.look, "linestyle": "none", "markersize": 4, "alpha": 0.45}
                axes.plot([place] * len(scores), scores, **seed)
    _ticks(axes, axis, values, numeric)
    if not results.ranking:
        say(axes, "no cell has finished yet")
    others = [other for other in results.axes if other != axis]
    if others and len(lines) <= FEW:
        keys = [handle(line.label, **line.look) for line in lines]
        add_legends(figure, [(", ".join(map(axis_name, others)), keys)])
    caption = "Cells that trained to the end, scored on the full dev split."
    if others and len(lines) > FEW:
        caption += f" A line joins cells that differ only in {name}."
    if len(results.sweep.seeds) > 1:
        caption += " Small marks are seeds, large ones their mean."
    if stopped:
        caption += (
            " An × above the plot marks a stopped cell, whose last value is not comparable with "
            "these."
        )
    return Plot(name=f"by_{axis}", figure=figure, caption=caption)


def _lines(results: SweepResults, axis: str) -> list[_Line]:
    others = [other for other in results.axes if other != axis]
    groups: dict[str, list[Design]] = {}
    for design in results.designs:
        key = repr([design.values.get(other) for other in others])
        groups.setdefault(key, []).append(design)
    columns = [
        ordered([design.values.get(other) for design in results.designs]) for other in others
    ]

    def rank(designs: Sequence[Design]) -> list[int]:
        return [
            [repr(value) for value in column].index(repr(designs[0].values.get(other)))
            for other, column in zip(others, columns, strict=True)
        ]

    sorted_groups = sorted(groups.values(), key=rank)
    # The first axis has the same colours as in the curves. Other axes have their own, so that blue
    # does not mean a share in one plot and an expansion in the next.
    first = bool(others) and others[0] == results.axes[0]
    colours = PALETTE if first and len(columns[0]) <= len(PALETTE) else ()
    many = len(sorted_groups) > FEW
    shade = shades(len(sorted_groups))
    place = {repr(value): index for index, value in enumerate(ordered(_column(results, axis)))}
    lines = []
    for index, designs in enumerate(sorted_groups):
        look = {
            "color": GREY if many else colours[rank(designs)[0]] if colours else shade[index],
            "marker": "o" if many else MARKERS[index],
            "linestyle": "-" if many else DASHES[index % len(DASHES)],
            "linewidth": 0.7 if many else 1.6,
            "markersize": 4.5 if many else 6.5,
        }
        lines.append(
            _Line(
                label=describe(designs[0].values, others),
                designs=tuple(
                    sorted(designs, key=lambda design: place[repr(design.values.get(axis))])
                ),
                look=look,
            )
        )
    return lines


def _column(results: SweepResults, axis: str) -> list[Any]:
    return [design.values.get(axis) for design in results.designs]


def _mark_stopped(
    strip: Axes, lines: Sequence[_Line], axis: str, places: Mapping[str, Any]
) -> None:
    """One row per line, with a cross for each stopped cell, whose value is not comparable."""
    for row, line in enumerate(lines):
        for design in line.designs:
            if any(cell.cell.status is Status.STOPPED for cell in design.cells):
                strip.plot(
                    places[repr(design.values.get(axis))],
                    -min(row, FEW),
                    marker="x",
                    markersize=6.5,
                    markeredgewidth=1.8,
                    color=line.look["color"],
                )
    strip.set_ylim(-min(len(lines), FEW + 1) + 0.4, 0.6)
    strip.set_ylabel("stopped", fontsize=9.5, rotation=0, ha="right", va="center")
    strip.yaxis.set_major_locator(NullLocator())
    strip.tick_params(bottom=False, labelbottom=False)
    strip.spines[:].set_visible(False)
    strip.set_facecolor("#f3f3f3")


def _ticks(axes: Axes, axis: str, values: Sequence[Any], numeric: bool) -> None:
    if numeric and min(values) > 0 and max(values) / min(values) >= 20:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    if len(values) <= FEW:
        axes.set_xticks(
            values if numeric else range(len(values)),
            labels=[describe_value(axis, value) for value in values],
        )
    elif numeric:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: describe_value(axis, value)))
    if not numeric:
        axes.set_xlim(-0.5, len(values) - 0.5)
