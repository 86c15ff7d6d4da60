"""Bits per byte by the cost of a cell, with the Pareto front.

Stopped cells have a separate panel above the finished ones. Their values are from fewer documents
and fewer tokens, and a common scale would suggest a ranking.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, Formatter, StrMethodFormatter

from tune_app.journal.records import ENDED_EARLY
from tune_app.results.designs import CellResult, Design, mean_of
from tune_app.results.evaluated import mean_decode_seconds, peak_memory
from tune_app.results.pareto import pareto_front
from tune_app.results.plots.legends import add_legends, handle, literal
from tune_app.results.plots.style import (
    GREY,
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
    stop_marker,
    stop_name,
)
from tune_app.results.summary import SweepResults

_FRONT: dict[str, Any] = {"color": "#888888", "linewidth": 1.4}
_WIDTH_OF_A_LETTER = 0.016
"""Approximately, as a share of the panel's width."""
_LINE = 28
"""Letters of a label in a line; half of the panel."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A cost of a cell, and its mean over the finished seeds of a design."""

    name: str
    title: str
    label: str
    ticks: Callable[[], Formatter]
    of_cell: Callable[[CellResult], float | None]
    of_design: Callable[[Design], float | None]


COSTS = (
    Cost(
        name="seconds",
        title="training time",
        label="training seconds",
        ticks=lambda: StrMethodFormatter("{x:,g}"),
        of_cell=lambda cell: cell.seconds["train"],
        of_design=lambda design: design.training_seconds,
    ),
    Cost(
        name="flops",
        title="training FLOPs",
        label="training FLOPs, forward and backward",
        ticks=lambda: EngFormatter(sep=""),
        of_cell=lambda cell: cell.training_flops,
        of_design=lambda design: design.training_flops,
    ),
)


def _evaluated(
    name: str, label: str, *, unit: str, of_cell: Callable[[CellResult], float | None]
) -> Cost:
    """A cost that only evaluated cells have; of a design, the mean of those that do."""

    def of_design(design: Design) -> float | None:
        values = [of_cell(cell) for cell in design.finished]
        return mean_of(value for value in values if value is not None)

    return Cost(
        name=name,
        title=name,
        label=label,
        ticks=lambda: EngFormatter(unit=unit),
        of_cell=of_cell,
        of_design=of_design,
    )


EVALUATED = (
    Cost(
        name="dollars",
        title="dollars",
        label="dollars for the time on machines",
        ticks=lambda: StrMethodFormatter("${x:,g}"),
        of_cell=lambda cell: cell.dollars,
        of_design=lambda design: design.dollars,
    ),
    _evaluated(
        "latency",
        "median seconds of the next token, as evaluated",
        unit="s",
        of_cell=lambda cell: mean_decode_seconds(cell.evaluations),
    ),
    _evaluated(
        "memory",
        "most bytes to score a batch, as evaluated",
        unit="B",
        of_cell=lambda cell: peak_memory(cell.evaluations),
    ),
)
"""Costs that only some cells have: those that were evaluated, or had a price."""


def costs_of(results: SweepResults) -> tuple[Cost, ...]:
    """The costs that are known of at least one design."""
    known = (
        cost
        for cost in EVALUATED
        if any(cost.of_design(design) is not None for design in results.ranking)
    )
    return (*COSTS, *known)


def cost_plot(results: SweepResults, cost: Cost) -> Plot:
    styles = Styles(results)
    stopped = _stopped(results, cost)
    figure = new_figure(height=5.2 if stopped else 4.2)
    if stopped:
        top, axes = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.6])
        dress(top, x="", y="ended early\n(sample of dev)")
    else:
        top = axes = figure.add_subplot()
    top.set_title(f"Bits per byte by {cost.title}", loc="left", fontsize=12, fontweight="bold")
    dress(axes, x=cost.label, y="finished\n(full dev split)")
    axes.xaxis.set_major_formatter(cost.ticks())
    top.margins(x=0.08, y=0.16)
    # Label the finished cells last, when the panels have their final width.
    ended = _draw_stopped(top, stopped, styles)
    marks = _draw_finished(axes, results, cost, styles) | ended
    if "finished" not in marks:
        say(axes, "no cell has finished yet")
        if not stopped:
            axes.set_xticks([])
    noise = draw_noise(axes, results)
    add_legends(figure, [*styles.handles(), ("mark", list(marks.values())), *noise])
    return Plot(
        name=f"pareto_{cost.name}",
        figure=figure,
        caption="The grey line is the Pareto front of the designs that trained to the end: no "
        "other has both a lower cost and a lower score. Stopped cells are in the upper panel, at "
        "their cost and last value; they are not ranked."
        + noise_caption(results)
        + (" A design is the mean of its seeds." if len(results.sweep.seeds) > 1 else "")
        + (
            f" {NUISANCE_CAPTION} It is charged with all its nuisance trials on a seed, stopped "
            "ones included."
            if results.nuisance
            else ""
        ),
    )


def _draw_finished(
    axes: Axes, results: SweepResults, cost: Cost, styles: Styles
) -> dict[str, Line2D]:
    charges = [(cost.of_design(design), design.mean, design) for design in results.ranking]
    ranked = [
        (charge, mean, design)
        for charge, mean, design in charges
        if charge is not None and mean is not None
    ]
    if not ranked:
        return {}
    for charge, mean, design in ranked:
        look = styles.of(design)
        draw_spread(axes, charge, design, look.colour)
        axes.plot(
            charge,
            mean,
            **{
                "color": look.colour,
                "marker": look.marker,
                "markersize": 7.5,
                "zorder": 4,
                **marked(results, design),
            },
        )
    front = [ranked[index] for index in pareto_front([(x, y) for x, y, _ in ranked])]
    axes.step([x for x, _, _ in front], [y for _, y, _ in front], where="post", **_FRONT)
    _label(axes, [(charge, mean, design.label) for charge, mean, design in front])
    return {
        "finished": handle("finished", color=GREY, marker="o", linestyle="none"),
        "front": handle("Pareto front", **_FRONT),
    }


def _label(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Labels the points of the front at the lower left, where no other design can be."""
    axes.margins(x=0.08, y=0.16)
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    wrapped = [(charge, mean, textwrap.wrap(label, _LINE)) for charge, mean, label in points]
    rows = max(len(lines) for _, _, lines in wrapped)
    low -= 0.06 * (rows - 1) * (high - low)
    axes.set_ylim(low, high)
    for charge, _, lines in wrapped:
        share = _width(lines) + _WIDTH_OF_A_LETTER
        left = min(left, max(0.0, (charge - share * right) / (1 - share)))
    axes.set_xlim(left, right)
    drop, above = 4.0, math.inf
    for charge, mean, lines in wrapped:
        place, level = (charge - left) / (right - left), (mean - low) / (high - low)
        # A line is about 1/20 of the panel high; move it down if it overlaps the previous label.
        drop = drop + 11 if above - level < 0.06 else 4.0
        above = level - 0.05 * (len(lines) - 1)
        room = place > _width(lines)
        axes.annotate(
            literal("\n".join(lines)),
            (charge, mean),
            xytext=(-4 if room else 5, -drop),
            textcoords="offset points",
            fontsize=9,
            ha="right" if room else "left",
            va="top",
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "alpha": 0.8, "linewidth": 0},
        )
        drop += 11 * (len(lines) - 1)


def _width(lines: Sequence[str]) -> float:
    """Of a label, as a share of the panel's width."""
    return _WIDTH_OF_A_LETTER * max(map(len, lines))


def _stopped(results: SweepResults, cost: Cost) -> list[tuple[float, float, str, Design]]:
    """(cost, last bits per byte, rule, design) of the cells stopped or paused by a rule."""
    found = []
    for design in results.designs:
        for cell in design.cells:
            charge, last = cost.of_cell(cell), cell.last
            if cell.cell.status not in ENDED_EARLY or cell.decision is None:
                continue
            if charge is not None and last is not None and math.isfinite(last.bits_per_byte):
                found.append((charge, last.bits_per_byte, cell.decision.rule, design))
    return found


def _draw_stopped(
    axes: Axes, stopped: Sequence[tuple[float, float, str, Design]], styles: Styles
) -> dict[str, Line2D]:
    marks: dict[str, Line2D] = {}
    for charge, value, rule, design in stopped:
        sign: dict[str, Any] = {
            "marker": stop_marker(rule),
            "markersize": 8,
            "markeredgewidth": 1.8,
            "linestyle": "none",
        }
        axes.plot(charge, value, color=styles.of(design).colour, **sign)
        name = stop_name(rule)
        marks[name] = handle(name, color=GREY, **sign)
    return marks
