"""Every plot of a sweep, in the order of the report, and how one becomes a file."""

from __future__ import annotations

from pathlib import Path

from tune_app.results.files import replacing
from tune_app.results.plots.by_axis import axis_plot
from tune_app.results.plots.by_cost import COSTS, cost_plot
from tune_app.results.plots.curves import curves_plot
from tune_app.results.plots.style import Plot
from tune_app.results.summary import SweepResults


def draw(results: SweepResults) -> list[Plot]:
    return [
        curves_plot(results),
        *(axis_plot(results, axis) for axis in results.axes),
        *(cost_plot(results, cost) for cost in COSTS),
    ]


def write_png(plot: Plot, path: Path) -> None:
    with replacing(path) as temporary:
        plot.figure.savefig(temporary, format="png")
