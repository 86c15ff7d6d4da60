"""Dev bits per byte against tokens, a line a cell, with the end of each marked by its kind."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from tune_app.records import Rule, Status
from tune_app.results.plots.style import (
    GREY,
    STOP_MARKERS,
    STOP_NAMES,
    Plot,
    Styles,
    add_legend,
    dress,
    handle,
    new_figure,
)
from tune_app.results.summary import CellResult, SweepResults

_BASELINE_WIDTH = 3.0


def curves_plot(results: SweepResults) -> Plot:
    styles = Styles(results)
    figure = new_figure(height=5.4)
    axes = figure.add_subplot()
    dress(axes, title="Curves", x="tokens", y="dev bits per byte (capped documents)")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    ends: dict[str, Line2D] = {}
    for design in results.designs:
        look = styles.of(design)
        for result in design.cells:
            points = _finite(result)
            if not points:
                continue
            tokens, values = zip(*points, strict=True)
            axes.plot(
                tokens,
                values,
                color=look.colour,
                linestyle=look.dash,
                linewidth=_BASELINE_WIDTH if design.is_baseline else 1.3,
                alpha=0.85,
            )
            name, mark = _end(result, look.marker)
            axes.plot(tokens[-1:], values[-1:], color=look.colour, zorder=4, **mark)
            ends.setdefault(name, handle(name, color=GREY, **mark))
            if design.is_baseline:
                ends["the baseline"] = handle("the baseline", color=GREY, linewidth=_BASELINE_WIDTH)
    hidden = _zoom(axes, results)
    add_legend(figure, [*styles.handles(), ("line's end", [ends[name] for name in sorted(ends)])])
    return Plot(
        name="curves",
        figure=figure,
        caption="A line is a cell. A filled mark: trained to the end. An open mark: ended there by "
        "the rule that the mark names. Lines compare at equal tokens only."
        + (" The first, steep part lies above the picture." if hidden else ""),
    )


def _finite(result: CellResult) -> list[tuple[int, float]]:
    return [
        (point.reference_tokens, point.bits_per_byte)
        for point in result.curve
        if math.isfinite(point.bits_per_byte)
    ]


def _end(result: CellResult, marker: str) -> tuple[str, dict[str, Any]]:
    """What the end of a curve is called, and its mark."""
    cell, decision = result.cell, result.decision
    if cell.status is Status.FINISHED:
        return "finished", {"marker": marker, "markersize": 6.5, "linestyle": "none"}
    if cell.status is Status.STOPPED and decision is not None:
        rule = decision.rule
        name, sign = STOP_NAMES.get(rule, rule.value), STOP_MARKERS.get(rule, "x")
    elif cell.status is Status.FAILED:
        name, sign = "failed", "$!$"
    else:
        name, sign = "still running", ">"
    return name, {
        "marker": sign,
        "markersize": 9,
        "markeredgewidth": 2,
        "markerfacecolor": "none",
        "linestyle": "none",
    }


def _zoom(axes: Axes, results: SweepResults) -> bool:
    """Cuts off the top, where the first steps are: the differences at the end decide.

    Shows all that lies below the highest value met after a quarter of the tokens. Returns whether
    something was cut off.
    """
    points = [point for result in results.cells for point in _finite(result)]
    late = [value for tokens, value in points if tokens >= results.sweep.tokens / 4]
    if not late:
        return False
    # One cell that goes astray must not flatten all others.
    steady = [
        value
        for result in results.cells
        if result.decision is None or result.decision.rule is not Rule.DIVERGED
        for tokens, value in _finite(result)
        if tokens >= results.sweep.tokens / 4
    ]
    low, high = min(value for _, value in points), max(steady or late)
    margin = 0.06 * (high - low) or 0.05
    axes.set_ylim(low - margin, high + margin)
    return max(value for _, value in points) > high + margin
