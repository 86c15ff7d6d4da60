"""The losses of a run at rising rates as a picture."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from tune_app.rates.finder import RateRun
from tune_app.rates.suggestion import Suggestion, smoothed
from tune_app.results.plots.legends import literal
from tune_app.results.plots.style import GREY, PALETTE, dress, new_figure
from tune_app.results.whole_files import replacing


def write_picture(run: RateRun, suggestion: Suggestion | None, path: Path, *, title: str) -> None:
    """Writes the picture as a PNG. Raises OSError if it cannot be written."""
    buffer = io.BytesIO()
    picture(run, suggestion, title=title).savefig(buffer, format="png")
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def picture(run: RateRun, suggestion: Suggestion | None, *, title: str) -> Figure:
    """Loss against rate, smoothed and not, with the suggestion and the range around it."""
    figure = new_figure(height=4.0)
    axes = figure.subplots()
    axes.plot(run.rates, run.losses, color=GREY, linewidth=0.7, label="loss of each step")
    axes.plot(run.rates, smoothed(run.losses), color=PALETTE[0], label="smoothed")
    if suggestion is not None:
        axes.axvspan(
            suggestion.falls_from,
            suggestion.lowest,
            color=PALETTE[0],
            alpha=0.08,
            label="from the first fall to the lowest loss",
        )
        axes.axvline(
            suggestion.rate,
            color=PALETTE[1],
            linestyle="--",
            label=f"suggested: {suggestion.rate:.2g}",
        )
    axes.set_xscale("log")
    axes.set_title(literal(title), fontsize=10, color=GREY)
    dress(axes, x="learning rate", y="training loss, nats per token")
    axes.legend(loc="best", frameon=False)
    return figure
