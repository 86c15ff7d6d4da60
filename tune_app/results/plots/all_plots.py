"""All plots of a sweep, in the order of the report, and their rendering as PNG."""

from __future__ import annotations

import io

from tune_app.results.plots.by_axis import axis_plot
from tune_app.results.plots.by_cost import cost_plot, costs_of
from tune_app.results.plots.by_nuisance import nuisance_plot
from tune_app.results.plots.curves import curves_plot
from tune_app.results.plots.metrics import metrics_plot
from tune_app.results.plots.style import Plot
from tune_app.results.summary import SweepResults


def draw(results: SweepResults) -> list[Plot]:
    training = metrics_plot(results)
    return [
        curves_plot(results),
        *(axis_plot(results, axis) for axis in results.axes if results.designs_on(axis)),
        *(nuisance_plot(results, axis) for axis in results.nuisance),
        *(cost_plot(results, cost) for cost in costs_of(results)),
        *([] if training is None else [training]),
    ]


def png(plot: Plot) -> bytes:
    buffer = io.BytesIO()
    plot.figure.savefig(buffer, format="png")
    return buffer.getvalue()
