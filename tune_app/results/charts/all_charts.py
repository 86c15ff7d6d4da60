"""All charts of the report, in its order."""

from __future__ import annotations

from tune_app.results.charts.axes import axis_charts
from tune_app.results.charts.chart import Chart
from tune_app.results.charts.costs import cost_chart
from tune_app.results.charts.curves import curve_charts
from tune_app.results.charts.optuna_views import optuna_charts
from tune_app.results.summary import SweepResults


def charts(results: SweepResults) -> list[Chart]:
    """The sweep's own charts."""
    return [*curve_charts(results), *axis_charts(results), *cost_chart(results)]


def optuna_views(results: SweepResults) -> list[Chart]:
    """Optuna's."""
    return optuna_charts(results)


def plotly_library() -> str:
    """plotly.js, of the version that is installed, for a script element."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - a second

    source: str = get_plotlyjs()
    return source.replace("</script", "<\\/script")
