"""Bits per byte against what a design costs, with the Pareto front of each cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tune_app import formats
from tune_app.results.charts.chart import Chart, colours, facts, layout, text
from tune_app.results.designs import Design, mean_of
from tune_app.results.pareto import pareto_front
from tune_app.results.summary import SweepResults


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A cost of a design."""

    name: str
    label: str
    of: Callable[[Design], float | None]


def _parameters(design: Design) -> float | None:
    table = design.cells[0].cell.parameters or {}
    total = table.get("active", table.get("total"))
    return None if total is None else float(total)


def _latency(design: Design) -> float | None:
    """Seconds for the next token, the mean of what the suite `latency` measured of its cells."""
    return mean_of(
        one.metrics["decode_seconds"]
        for cell in design.finished
        for one in cell.evaluations
        if "decode_seconds" in one.metrics
    )


COSTS = (
    Cost(name="FLOPs", label="training FLOPs of a seed", of=lambda one: one.training_flops),
    Cost(name="seconds", label="training seconds of a seed", of=lambda one: one.training_seconds),
    Cost(name="dollars", label="dollars of a seed", of=lambda one: one.dollars),
    Cost(name="latency", label="measured seconds for the next token", of=_latency),
    Cost(name="parameters", label="parameters used for a token", of=_parameters),
)


def cost_chart(results: SweepResults) -> list[Chart]:
    """One chart with a button for each cost that is known of some design."""
    designs = [design for design in results.ranking if design.mean is not None]
    data: list[dict[str, Any]] = []
    shown: list[Cost] = []
    for cost in COSTS:
        known = [
            (charge, design.mean, design)
            for design in designs
            if (charge := cost.of(design)) is not None and design.mean is not None
        ]
        if known:
            data += _traces(results, known, visible=not shown)
            shown.append(cost)
    if not shown:
        return []
    shape = layout(x=shown[0].label, y="bits per byte, full dev split")
    shape["margin"] = {**shape["margin"], "t": 44}
    shape["xaxis"]["exponentformat"] = "SI"  # 890G, as in the static plots
    shape["updatemenus"] = [
        {
            "type": "buttons",
            "direction": "right",
            "x": 0,
            "y": 1.02,
            "xanchor": "left",
            "yanchor": "bottom",
            "buttons": [
                {
                    "label": cost.name,
                    "method": "update",
                    "args": [
                        {"visible": [place // 2 == number for place in range(len(data))]},
                        {"xaxis.title.text": cost.label, "xaxis.autorange": True},
                    ],
                }
                for number, cost in enumerate(shown)
            ],
        }
    ]
    return [
        Chart(
            name="pareto",
            title="Pareto fronts",
            caption="A mark is a design that trained to the end. The grey line is the front: no "
            "other has both a lower cost and a lower score. Hollow: not told apart from "
            "the leader.",
            data=data,
            layout=shape,
            height=460,
        )
    ]


def _traces(
    results: SweepResults, known: Sequence[tuple[float, float, Design]], *, visible: bool
) -> list[dict[str, Any]]:
    colour = colours(results)
    front = [known[place] for place in pareto_front([(x, y) for x, y, _ in known])]
    close = [
        one is results.leader or results.contest.told_apart(one) is False for _, _, one in known
    ]
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "Pareto front",
            "x": [x for x, _, _ in front],
            "y": [y for _, y, _ in front],
            "line": {"shape": "hv", "color": "#999999", "width": 1.5},
            "hoverinfo": "skip",
            "visible": visible,
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "finished",
            "x": [x for x, _, _ in known],
            "y": [y for _, y, _ in known],
            "text": [_told(results, *one) for one in known],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {
                "size": 11,
                "color": [colour[one.label] for _, _, one in known],
                "symbol": ["circle-open" if one else "circle" for one in close],
                "line": {"width": 2},
            },
            "visible": visible,
        },
    ]


def _told(results: SweepResults, charge: float, mean: float, design: Design) -> str:
    place = results.ranking.index(design) + 1
    return (
        f"<b>{text(design.label)}</b>, place {place}<br>{formats.bits_per_byte(mean)} bits per byte"
        f"<br>cost {formats.number(charge)}<br>{facts(design.finished[0])}"
    )
