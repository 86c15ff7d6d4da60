"""Final bits per byte by one axis of the sweep, one line per combination of the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from tune_app.journal.records import ENDED_EARLY
from tune_app.plan.labels import axis_name, is_number, ordered
from tune_app.results.designs import Design
from tune_app.results.plots.legends import add_legends
from tune_app.results.plots.style import (
    FEW,
    NUISANCE_CAPTION,
    Plot,
    Styles,
    draw_noise,
    draw_spread,
    dress,
    marked,
    new_figure,
    noise_caption,
    say,
)
from tune_app.results.plots.ticks import value_ticks
from tune_app.results.summary import SweepResults


@dataclass(frozen=True, kw_only=True)
class _Line:
    designs: tuple[Design, ...]
    look: Mapping[str, Any]


def axis_plot(results: SweepResults, axis: str) -> Plot:
    name = axis_name(axis)
    values = ordered([design.values.get(axis) for design in results.designs_on(axis)])
    numeric = all(map(is_number, values))
    places = {repr(value): value if numeric else place for place, value in enumerate(values)}
    others = results.apart_from(axis)
    styles = Styles(results, others)
    lines = _lines(results, axis, others, styles)
    stopped = results.with_status(*ENDED_EARLY)
    figure = new_figure(height=4.2 if stopped else 3.9)
    if stopped:
        height = 0.06 * min(len(lines), FEW) + 0.06
        strip, axes = figure.subplots(2, 1, sharex=True, height_ratios=[height, 1])
        _mark_stopped(strip, lines, axis, places)
    else:
        axes = strip = figure.add_subplot()
    dress(axes, x=name, y="bits per byte (full dev split)")
    strip.set_title(f"Bits per byte by {name}", loc="left", fontsize=12, fontweight="bold")
    noise = draw_noise(axes, results)
    for line in lines:
        along = [places[repr(design.values.get(axis))] for design in line.designs]
        # NaN breaks the line at a design without a value, since nothing is known there.
        means = [math.nan if design.mean is None else design.mean for design in line.designs]
        axes.plot(along, means, **line.look)
        for place, design in zip(along, line.designs, strict=True):
            draw_spread(axes, place, design, line.look["color"])
            if look := marked(results, design):
                axes.plot(place, design.mean, **{**line.look, **look})
            if len(results.sweep.seeds) > 1:
                scores = list(design.scores.values())
                seed = {**line.look, "linestyle": "none", "markersize": 4, "alpha": 0.45}
                axes.plot([place] * len(scores), scores, **seed)
    value_ticks(axes, axis, values, results)
    if not results.ranking:
        say(axes, "no cell has finished yet")
    add_legends(figure, [*styles.handles(), *noise])
    caption = "Cells that trained to the end, scored on the full dev split."
    if others:
        caption += f" A line joins cells that differ only in {name}{_with(results, axis)}."
    if results.nuisance:
        caption += f" {NUISANCE_CAPTION}"
    if len(results.sweep.seeds) > 1:
        caption += " Small marks are seeds, large ones their mean."
    caption += noise_caption(results)
    if stopped:
        caption += (
            " An × above the plot marks a stopped or paused cell, whose last value is not "
            "comparable with these."
        )
    return Plot(name=f"by_{axis}", figure=figure, caption=caption)


def _with(results: SweepResults, axis: str) -> str:
    """`, and in the vocabulary that goes with it`, for an axis that does not vary alone."""
    together = [other for other in results.axes if other not in (axis, *results.apart_from(axis))]
    return (
        f", and in the {' and '.join(map(axis_name, together))} that goes with it"
        if together
        else ""
    )


def _lines(results: SweepResults, axis: str, others: Sequence[str], styles: Styles) -> list[_Line]:
    """One line per combination of the other axes, in the order of their values."""
    groups: dict[str, list[Design]] = {}
    for design in results.designs_on(axis):
        key = repr([styles.apart(design), *(design.values.get(other) for other in others)])
        groups.setdefault(key, []).append(design)
    values = ordered([design.values.get(axis) for design in results.designs_on(axis)])
    place = {repr(value): index for index, value in enumerate(values)}
    many = len(groups) > FEW
    lines = []
    for designs in sorted(groups.values(), key=lambda designs: styles.rank(designs[0])):
        look = styles.of(designs[0])
        along = sorted(designs, key=lambda design: place[repr(design.values.get(axis))])
        lines.append(
            _Line(
                designs=tuple(along),
                look={
                    "color": look.colour,
                    "marker": look.marker,
                    "linestyle": look.dash,
                    "linewidth": 1.0 if many else 1.6,
                    "markersize": 9 if styles.apart(designs[0]) else 5.0 if many else 6.5,
                },
            )
        )
    return lines


def _mark_stopped(
    strip: Axes, lines: Sequence[_Line], axis: str, places: Mapping[str, Any]
) -> None:
    """One row per line, with a cross for each cell stopped or paused: no value to compare."""
    for row, line in enumerate(lines):
        for design in line.designs:
            if any(cell.cell.status in ENDED_EARLY for cell in design.cells):
                strip.plot(
                    places[repr(design.values.get(axis))],
                    -min(row, FEW),
                    marker="x",
                    markersize=6.5,
                    markeredgewidth=1.8,
                    color=line.look["color"],
                )
    strip.set_ylim(-min(len(lines), FEW + 1) + 0.4, 0.6)
    strip.set_ylabel("ended early", fontsize=9.5, rotation=0, ha="right", va="center")
    strip.yaxis.set_major_locator(NullLocator())
    strip.tick_params(bottom=False, labelbottom=False)
    strip.spines[:].set_visible(False)
    strip.set_facecolor("#f3f3f3")
