"""Dev bits per byte by tokens, one line per cell, with a mark for how each ended.

A second panel shows the same lines as gaps to the baseline at equal tokens, where the order of
nearly coinciding curves can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from tune_app.journal.records import DIVERGED, ENDED_EARLY, Status
from tune_app.results.designs import CellResult
from tune_app.results.plots.legends import add_legends, handle
from tune_app.results.plots.style import (
    GREY,
    Plot,
    Styles,
    dress,
    new_figure,
    say,
    stop_marker,
    stop_name,
)
from tune_app.results.summary import SweepResults

Points = list[tuple[int, float]]

_BASELINE_WIDTH = 3.0
_FAINT = 0.3
"""Opacity of the curves at nuisance values that were not chosen."""
_SEED_WIDTH, _SEED_ALPHA = 0.8, 0.5
"""Of a seed's own line, below the mean of all seeds."""
_THIN = "(thin: a seed)"
_STEEP = 0.25
"""Initial share of the tokens, in which curves fall too steeply to be compared."""


def curves_plot(results: SweepResults) -> Plot:
    gaps = any(
        results.gap_curve(cell)
        for design in results.designs
        for cell in design.cells
        if not design.is_baseline
    )
    figure = new_figure(height=6.2 if gaps else 3.8)
    panels = figure.subplots(2 if gaps else 1, 1, sharex=True, squeeze=False)[:, 0]
    dress(panels[0], title="Curves", x="", y="dev bits per byte")
    ends = draw_cells(panels[0], results, lambda cell: cell.points, shown_from=_STEEP)
    if gaps:
        dress(panels[1], x="", y="above the baseline")
        draw_cells(panels[1], results, results.gap_curve, shown_from=_STEEP)
    if ends:
        panels[-1].set_xlabel("tokens", fontsize=11)
        panels[-1].xaxis.set_major_formatter(EngFormatter(sep=""))
    else:
        say(panels[0], "nothing has been evaluated yet")
        panels[0].set_xticks([])
    lines = [ends[name] for name in sorted(ends)]
    add_legends(figure, [*Styles(results).handles(), ("end of a line", lines)])
    return Plot(
        name="curves",
        figure=figure,
        caption="A line is a cell, scored on the sample of dev documents while it trains. Filled "
        "mark: trained to the end. Cross or open mark: ended as the legend says. Lower panel: gap "
        "to the baseline at equal tokens; negative is better. The steep first quarter "
        "may be outside the plot."
        + (" Thin lines are seeds, the others their mean." if len(results.sweep.seeds) > 1 else "")
        + (
            " Faint lines are the nuisance values that were not chosen." if results.nuisance else ""
        ),
    )


def draw_cells(
    axes: Axes,
    results: SweepResults,
    points_of: Callable[[CellResult], Points],
    *,
    shown_from: float = 0.0,
) -> dict[str, Line2D]:
    """Draws one line per cell; returns the legend entries of the visible ends, by name.

    Seeds of a design are thin lines, below their mean as far as all of them were trained.

    `shown_from` is a share of the tokens; values before it do not affect the axis limits.
    """
    styles = Styles(results)
    ends: dict[str, list[float]] = {}
    entries: dict[str, Line2D] = {}
    for design in results.designs:
        look = styles.of(design)
        width = _BASELINE_WIDTH if design.is_baseline else 1.3
        chosen = None if design.chosen is None else design.chosen.cells
        mean = mean_points([points_of(result) for result in chosen or design.cells])
        for result in design.cells:
            if not (points := points_of(result)):
                continue
            tokens, values = zip(*points, strict=True)
            if chosen is not None and result not in chosen:
                axes.plot(tokens, values, color=look.colour, linewidth=0.7, alpha=_FAINT)
                continue
            line = {"color": look.colour, "linestyle": look.dash}
            if mean:
                axes.plot(tokens, values, **line, linewidth=_SEED_WIDTH, alpha=_SEED_ALPHA)
            else:
                axes.plot(tokens, values, **line, linewidth=width, alpha=0.85)
            name, mark = _end(result)
            sign = mark | ({"marker": look.marker} if name == "finished" else {})
            axes.plot(tokens[-1:], values[-1:], color=look.colour, zorder=4, **sign)
            ends.setdefault(name, []).append(values[-1])
            entries[name] = handle(name, color=GREY, **mark)
            if design.is_baseline and len(results.designs) > 1:
                ends["(thick: baseline)"] = list(values)
                entries["(thick: baseline)"] = handle(
                    "(thick: baseline)", color=GREY, linewidth=width
                )
        if mean:
            tokens, values = zip(*mean, strict=True)
            axes.plot(
                tokens, values, color=look.colour, linestyle=look.dash, linewidth=width, alpha=0.85
            )
            ends.setdefault(_THIN, []).extend(values)
            entries[_THIN] = handle(_THIN, color=GREY, linewidth=_SEED_WIDTH, alpha=_SEED_ALPHA)
    _zoom(axes, results, points_of, shown_from)
    low, high = axes.get_ylim()
    return {
        name: entry
        for name, entry in entries.items()
        if any(low <= value <= high for value in ends[name])
    }


def mean_points(curves: Sequence[Points]) -> Points:
    """The mean of several seeds' curves at the tokens that all of them have; empty for one."""
    begun = [dict(points) for points in curves if points]
    if len(begun) < 2:
        return []
    common = sorted(set.intersection(*(set(curve) for curve in begun)))
    return [(tokens, fmean(curve[tokens] for curve in begun)) for tokens in common]


def _end(result: CellResult) -> tuple[str, dict[str, Any]]:
    """The name and the mark of a curve's end."""
    cell, decision = result.cell, result.decision
    if cell.status is Status.FINISHED:
        return "finished", {"marker": "o", "markersize": 6, "linestyle": "none"}
    sign: dict[str, Any] = {
        "markersize": 9,
        "markeredgewidth": 2,
        "markerfacecolor": "none",
        "linestyle": "none",
    }
    if cell.status in ENDED_EARLY and decision is not None:
        return stop_name(decision.rule), {**sign, "marker": stop_marker(decision.rule)}
    if cell.status is Status.FAILED:
        return "failed", {**sign, "marker": "X", "markeredgewidth": 1.2}
    return "still running", {**sign, "marker": ">", "markersize": 7, "markeredgewidth": 1.4}


def _zoom(
    axes: Axes,
    results: SweepResults,
    points_of: Callable[[CellResult], Points],
    shown_from: float,
) -> None:
    """Sets the axis limits by the values after that share of the tokens.

    Diverged cells are ignored, so that one of them does not flatten all others.
    """
    reached = [tokens for cell in results.cells for tokens, _ in points_of(cell)]
    start = max(reached, default=0) * shown_from

    def late(cells: Iterable[CellResult]) -> list[float]:
        return [value for cell in cells for tokens, value in points_of(cell) if tokens >= start]

    steady = [
        cell for cell in results.cells if cell.decision is None or cell.decision.rule != DIVERGED
    ]
    if values := late(steady) or late(results.cells):
        low, high = min(values), max(values)
        margin = 0.06 * (high - low) or 0.05
        axes.set_ylim(low - margin, high + margin)
