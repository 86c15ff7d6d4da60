"""The figure of a replay: regret against compute, with bands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tune_app.replay.orders import BAND, Tally

_COLUMNS = 4


def draw(tallies: Sequence[Tally], path: Path, *, title: str) -> None:
    """Writes a PNG with a panel a scheduler: the median regret of the leader so far, and its band.

    The dot is where the scheduler ends on average: its tokens, and the mean regret of its leader.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - takes a second
    from matplotlib.figure import Figure  # noqa: PLC0415

    rows = -(-len(tallies) // _COLUMNS)
    figure = Figure(figsize=(11, 0.8 + 2.3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).flat)
    for axes, one in zip(panels, tallies, strict=False):
        shares, (low, middle, high) = one.anytime()
        axes.fill_between(
            100 * shares, low, high, step="post", color="#0072B2", alpha=0.2, linewidth=0
        )
        axes.step(100 * shares, middle, where="post", color="#0072B2")
        axes.plot(100 * one.compute, one.regret, "o", color="#D55E00", clip_on=False, zorder=3)
        axes.set_title(f"{one.name}: {one.compute:.0%}, {one.regret:.4f}", fontsize=9)
        axes.grid(alpha=0.25)
    for axes in panels[len(tallies) :]:
        axes.set_axis_off()
    for axes in panels[max(0, len(tallies) - _COLUMNS) : len(tallies)]:
        axes.tick_params(labelbottom=True)  # the lowest of its column
    top = max(float(np.nanmax(one.anytime()[1][1])) for one in tallies)
    figure.axes[0].set_ylim(-0.03 * top, 1.3 * top or 1e-3)
    figure.axes[0].set_xlim(0, 102)
    figure.supxlabel("tokens trained, % of the whole grid's", fontsize=10)
    figure.supylabel("regret of the leader, bits per byte", fontsize=10)
    low_end, high_end = BAND
    figure.suptitle(
        f"{title}: median, {low_end:.0f} to {high_end:.0f} % of orders; dot: the mean end",
        fontsize=11,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
