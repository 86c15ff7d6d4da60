"""Bits per byte against what a cell cost, and the designs that nothing cheaper equals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from tune_app.records import Status
from tune_app.results.pareto import pareto_front
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
from tune_app.results.summary import CellResult, Design, SweepResults


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a cell is charged, and what a finished design is on average."""

    name: str
    title: str
    label: str
    of_cell: Callable[[CellResult], float | None]
    of_design: Callable[[Design], float | None]


COSTS = (
    Cost(
        name="seconds",
        title="training time",
        label="training seconds (start, compilation and evaluation apart)",
        of_cell=lambda cell: cell.seconds["train"] if cell.last is not None else None,
        of_design=lambda design: design.training_seconds,
    ),
    Cost(
        name="flops",
        title="training FLOPs",
        label="training FLOPs (forward and backward)",
        of_cell=lambda cell: cell.training_flops,
        of_design=lambda design: design.training_flops,
    ),
)


def cost_plot(results: SweepResults, cost: Cost) -> Plot:
    styles = Styles(results)
    figure = new_figure(height=5.2)
    axes = figure.add_subplot()
    dress(axes, title=f"Bits per byte by {cost.title}", x=cost.label, y="dev bits per byte")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    marks: dict[str, Line2D] = {}
    ranked: list[tuple[float, float, Design]] = []
    for design in results.designs:
        charge, mean = cost.of_design(design), design.mean
        if charge is not None and mean is not None:
            ranked.append((charge, mean, design))
            look = styles.of(design)
            axes.plot(charge, mean, color=look.colour, marker=look.marker, markersize=7.5, zorder=4)
            marks["finished"] = handle("finished", color=GREY, marker="o", linestyle="none")
    front = pareto_front([(charge, mean) for charge, mean, _ in ranked])
    if front:
        steps = [ranked[index][:2] for index in front]
        axes.step(*zip(*steps, strict=True), where="post", color="#999999", linewidth=1.2, zorder=2)
        marks["the front"] = handle("Pareto front", color="#999999", linewidth=1.2)
    _draw_stopped(axes, results, cost, styles, marks)
    for index in front:
        charge, mean, design = ranked[index]
        axes.annotate(
            design.label,
            (charge, mean),
            xytext=(-5, -11),
            textcoords="offset points",
            fontsize=9,
            ha="right",
        )
    add_legend(figure, [*styles.handles(), ("mark", list(marks.values()))])
    return Plot(
        name=f"pareto_{cost.name}",
        figure=figure,
        caption="Filled: trained to the end, scored on the whole dev split. Open: stopped, at what "
        "it had cost and at its last value on the capped documents; shown for its price, not for "
        "its rank. The front joins finished designs alone: no other is both cheaper and better.",
    )


def _draw_stopped(
    axes: Axes, results: SweepResults, cost: Cost, styles: Styles, marks: dict[str, Line2D]
) -> None:
    for design in results.designs:
        for result in design.cells:
            if result.cell.status is not Status.STOPPED or result.decision is None:
                continue
            rule, charge, last = result.decision.rule, cost.of_cell(result), result.last
            if charge is None or last is None or not math.isfinite(last.bits_per_byte):
                continue
            sign: dict[str, Any] = {
                "marker": STOP_MARKERS.get(rule, "x"),
                "markersize": 8,
                "markeredgewidth": 1.8,
                "linestyle": "none",
            }
            axes.plot(charge, last.bits_per_byte, color=styles.of(design).colour, **sign)
            name = STOP_NAMES.get(rule, rule.value)
            marks[name] = handle(name, color=GREY, **sign)
