"""Training metrics: one panel per metric that METRICS declares as drawn."""

from __future__ import annotations

from operator import methodcaller

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from tune_app.journal.metrics import label
from tune_app.results.plots.curves import draw_cells
from tune_app.results.plots.legends import add_legends
from tune_app.results.plots.style import Plot, Styles, dress, new_figure
from tune_app.results.summary import SweepResults

_CAPTION = "Metrics of the training steps before each evaluation."
_OF_GRADIENTS = (
    " A gradient norm that grows, or is far above the others', suggests a learning rate too high "
    "for that cell."
)


def metrics_plot(results: SweepResults) -> Plot | None:
    """Stacked panels, by tokens; None if there is nothing to draw."""
    names = results.drawn_metrics
    if not names:
        return None
    figure = new_figure(height=0.5 + 2.0 * len(names))
    panels: list[Axes] = list(figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0])
    ends: dict[str, Line2D] = {}
    for axes, name in zip(panels, names, strict=True):
        dress(axes, x="", y="", title=label(name))
        ends |= draw_cells(axes, results, methodcaller("points_of", name))
    panels[-1].set_xlabel("tokens", fontsize=11)
    panels[-1].xaxis.set_major_formatter(EngFormatter(sep=""))
    lines = [ends[name] for name in sorted(ends)]
    add_legends(figure, [*Styles(results).handles(), ("end of a line", lines)])
    return Plot(
        name="training",
        figure=figure,
        caption=_CAPTION + (_OF_GRADIENTS if "gradient_norm" in names else ""),
    )
