"""What other schedulers would have made of the sweep: regret against compute, and false kills."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tune_app import formats
from tune_app.replay.orders import BAND, Tally
from tune_app.replay.reported import WORKERS, Reported, reported
from tune_app.results.charts.chart import Chart, layout, text
from tune_app.results.plots.style import PALETTE
from tune_app.results.summary import SweepResults
from tune_app.stopping.all_rules import SCHEDULERS

_SHOWN = (*SCHEDULERS, "random")
"""The others are drawn when their name is clicked."""
_FEWEST_DESIGNS = 4
_DIGITS = 6
"""What is further behind is another machine's rounding."""


def reported_of(results: SweepResults) -> Reported:
    """The replay of a sweep; none of one that repeats a few designs, as finalists do."""
    sweep = results.sweep
    if len(results.designs) < _FEWEST_DESIGNS:
        return Reported(
            complete=0,
            competed=0,
            why_not=f"it has {formats.counted(len(results.designs), 'design')}, and a replay needs "
            f"at least {_FEWEST_DESIGNS}: runs of one design differ by chance alone",
        )
    return reported(
        [result.cell for result in results.cells],
        {result.cell.key: result.curve for result in results.cells},
        baseline=sweep.baseline,
        nuisance=sweep.nuisance,
    )


def replay_charts(found: Reported, *, name: str = "replay") -> list[Chart]:
    """Both charts; none where there is no replay.

    name: of the first, the second's has `-kills` behind it.
    """
    if not found.tallies:
        return []
    low, high = BAND
    how = (
        f"Replayed on the {found.complete} of {found.competed} cells that were trained to their "
        f"end, in {found.orders} random orders on {WORKERS} workers."
    )
    data: list[dict[str, Any]] = []
    for place, one in enumerate(found.tallies):
        data += _traces(one, PALETTE[place % len(PALETTE)])
    regret = layout(x="tokens trained, % of the whole grid's", y="regret of the leader, bpb")
    regret["xaxis"]["range"] = [0, 102]
    regret["yaxis"]["rangemode"] = "tozero"
    return [
        Chart(
            name=name,
            title="What other schedulers would have cost",
            caption=f"{how} Regret: by how much the leader so far ends worse than the best cell. "
            f"A line is the median, its band {low:.0f} to {high:.0f} % of orders; a mark is the "
            "mean end. A click on a name draws it or takes it away.",
            data=data,
            layout=regret,
            height=480,
        ),
        _kills(found, name=f"{name}-kills"),
    ]


def _traces(one: Tally, colour: str) -> list[dict[str, Any]]:
    shares, (low, middle, high) = one.anytime()
    known = [at for at in range(len(shares)) if math.isfinite(middle[at])]
    x = [round(100 * float(shares[at]), 2) for at in known]
    band = [_rounded(float(high[at])) for at in known]
    band += [_rounded(float(low[at])) for at in reversed(known)]
    visible: bool | str = True if one.name in _SHOWN else "legendonly"
    common = {"type": "scatter", "legendgroup": one.name, "visible": visible}
    return [
        {
            **common,
            "mode": "lines",
            "x": [*x, *reversed(x)],
            "y": band,
            "fill": "toself",
            "fillcolor": colour,
            "opacity": 0.12,
            "line": {"width": 0},
            "hoverinfo": "skip",
            "showlegend": False,
        },
        {
            **common,
            "mode": "lines",
            "name": text(one.name),
            "x": x,
            "y": [_rounded(float(middle[at])) for at in known],
            "line": {"color": colour, "width": 2, "shape": "hv"},
            "hovertemplate": f"<b>{text(one.name)}</b><br>%{{x}} % of the tokens<br>median regret "
            "%{y:.4f}<extra></extra>",
        },
        {
            **common,
            "mode": "markers",
            "name": text(one.name),
            "showlegend": False,
            "x": [_rounded(100 * one.compute)],
            "y": [_rounded(one.regret)],
            "text": [_told(one)],
            "cliponaxis": False,
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"size": 10, "color": colour, "line": {"width": 1, "color": "#ffffff"}},
        },
    ]


def _kills(found: Reported, *, name: str) -> Chart:
    known = [(one, rate) for one in found.tallies if (rate := one.false_kills) is not None]
    shape = layout(x="", y="false kills, %")
    shape["showlegend"] = False
    shape["yaxis"]["rangemode"] = "tozero"
    return Chart(
        name=name,
        title="False kills of each",
        caption="Of the cells that a scheduler gave up, those that end better than the one that "
        "it let lead.",
        data=[
            {
                "type": "bar",
                "x": [text(one.name) for one, _ in known],
                "y": [_rounded(100 * rate) for _, rate in known],
                "text": [_told(one) for one, _ in known],
                "textposition": "none",
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {"color": PALETTE[0]},
            }
        ],
        layout=shape,
        height=300,
    )


def _told(one: Tally) -> str:
    false = one.false_kills
    return (
        f"<b>{text(one.name)}</b><br>{one.compute:.1%} of the tokens<br>regret {one.regret:.4f} "
        f"± {one.regret_error:.4f}<br>"
        + ("gave nothing up" if false is None else f"{false:.1%} of what it gave up wrongly")
        + f"<br>lost the best cell in {one.lost:.1%} of {one.orders} orders"
    )


def _rounded(value: float) -> float:
    return round(value, _DIGITS)


def replay_rows(tallies: Sequence[Tally]) -> list[tuple[str, ...]]:
    """A row of text for each scheduler: name, tokens, regret, lost, false kills."""
    return [
        (
            one.name,
            f"{one.compute:.1%}",
            f"{one.regret:.4f} ± {one.regret_error:.4f}",
            f"{one.lost:.1%}",
            "–" if one.false_kills is None else f"{one.false_kills:.1%}",
        )
        for one in tallies
    ]
