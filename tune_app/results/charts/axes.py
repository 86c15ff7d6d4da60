"""The first two axes against each other, and the main effect of every axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tune_app import formats
from tune_app.journal.records import ENDED_EARLY
from tune_app.plan.labels import axis_name, describe_value, ordered
from tune_app.results.charts.chart import Chart, facts, layout, text, wrapped
from tune_app.results.designs import Design
from tune_app.results.plots.style import PALETTE
from tune_app.results.summary import SweepResults
from tune_app.statistics.effects import NO_INTERVAL, Effect, main_effects

_MOST_VALUES = 40
"""On an axis of the map."""


def axis_charts(results: SweepResults) -> list[Chart]:
    """The map of the first two axes, if there are two, and the main effects."""
    found = [*_map(results), *_effects(results)]
    return found


def _map(results: SweepResults) -> list[Chart]:
    if len(results.axes) < 2 or not results.ranking:
        return []
    across, along = results.axes[1], results.axes[0]
    columns = ordered([design.values.get(across) for design in results.designs])
    rows = ordered([design.values.get(along) for design in results.designs])
    if not (1 < len(columns) <= _MOST_VALUES and 1 < len(rows) <= _MOST_VALUES):
        return []
    scores: list[list[float | None]] = [[None] * len(columns) for _ in rows]
    shown = [[""] * len(columns) for _ in rows]
    hover = [["not in the sweep"] * len(columns) for _ in rows]
    for design in results.designs:
        row, column = rows.index(design.values.get(along)), columns.index(design.values.get(across))
        best = scores[row][column]
        if best is not None and (design.mean is None or design.mean >= best):
            continue  # of several designs there the best is shown
        scores[row][column] = design.mean
        shown[row][column] = _shown(design)
        hover[row][column] = _told(results, design)
    names = {along: rows, across: columns}
    ticks = {axis: [text(describe_value(axis, one)) for one in names[axis]] for axis in names}
    shape = layout(x=axis_name(across), y=axis_name(along))
    for axis in ("xaxis", "yaxis"):
        shape[axis] |= {"type": "category", "showgrid": False}
    several = len(results.axes) > 2
    return [
        Chart(
            name="map",
            title=f"{axis_name(along).capitalize()} × {axis_name(across)}",
            caption="Bits per byte on the full dev split of what trained to the end; what was "
            "stopped is named and not coloured."
            + (" Of several designs in a field the best is shown." if several else ""),
            data=[
                {
                    "type": "heatmap",
                    "z": scores,
                    "x": ticks[across],
                    "y": ticks[along],
                    "text": [
                        # `_labels_of_gaps` names the fields without a score.
                        [
                            told if score is not None else ""
                            for told, score in zip(*row, strict=True)
                        ]
                        for row in zip(shown, scores, strict=True)
                    ],
                    "texttemplate": "%{text}",
                    "customdata": hover,
                    "hovertemplate": "%{customdata}<extra></extra>",
                    "hoverongaps": True,
                    "colorscale": "Viridis",
                    "reversescale": True,
                    "xgap": 2,
                    "ygap": 2,
                    "showscale": False,
                },
                _labels_of_gaps(scores, shown, hover, ticks[across], ticks[along]),
            ],
            layout=shape,
            height=150 + 62 * len(rows),
        )
    ]


def _labels_of_gaps(
    scores: list[list[float | None]],
    shown: list[list[str]],
    hover: list[list[str]],
    x: list[str],
    y: list[str],
) -> dict[str, Any]:
    """The fields without a score, in grey: a heat map has one colour of text for all of them."""
    empty = [
        (row, column)
        for row in range(len(y))
        for column in range(len(x))
        if scores[row][column] is None
    ]
    return {
        "type": "scatter",
        "mode": "text",
        "x": [x[column] for _, column in empty],
        "y": [y[row] for row, _ in empty],
        "text": [shown[row][column] or "–" for row, column in empty],
        "customdata": [hover[row][column] for row, column in empty],
        "hovertemplate": "%{customdata}<extra></extra>",
        "textfont": {"color": "#666666", "size": 11},
        "showlegend": False,
    }


def _shown(design: Design) -> str:
    if design.mean is not None:
        return formats.bits_per_byte(design.mean)
    return design.cells[0].cell.status.value


def _told(results: SweepResults, design: Design) -> str:
    cell = design.cells[0]
    lines = [f"<b>{text(design.label)}</b>", facts(cell)]
    if design.mean is not None:
        lines.append(f"{formats.bits_per_byte(design.mean)} bits per byte, full dev")
        gap = results.gap(design)
        lines.append("the baseline" if design.is_baseline else f"gap {formats.gap(gap)}")
    else:
        lines.append(cell.cell.status.value)
        if cell.cell.status in ENDED_EARLY and cell.cell.reason:
            lines.append(wrapped(cell.cell.reason))
    return "<br>".join(lines)


def _effects(results: SweepResults) -> list[Chart]:
    designs = [design for design in results.ranking if design.mean is not None]
    rows = [
        {axis: describe_value(axis, design.values.get(axis)) for axis in results.axes}
        for design in designs
    ]
    scores = [design.mean for design in designs if design.mean is not None]
    seeds = [max(1, len(design.scores)) for design in designs]
    found = main_effects(rows, scores, noise=results.contest.noise, seeds=seeds)
    if not found or len(rows) < 3:
        return []
    return [_effect_chart(found)]


def _effect_chart(effects: Sequence[Effect]) -> Chart:
    data: list[dict[str, Any]] = []
    for place, effect in enumerate(effects):
        ends = [one.interval or (one.behind, one.behind) for one in effect.levels]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": text(axis_name(effect.axis)),
                "x": [one.behind for one in effect.levels],
                "y": [f"{text(axis_name(effect.axis))} {text(one.value)}" for one in effect.levels],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [
                        end[1] - one.behind for one, end in zip(effect.levels, ends, strict=True)
                    ],
                    "arrayminus": [
                        one.behind - end[0] for one, end in zip(effect.levels, ends, strict=True)
                    ],
                    "thickness": 1.5,
                    "width": 4,
                },
                "text": [_effect_text(effect, place) for place in range(len(effect.levels))],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {"size": 9, "color": PALETTE[place % len(PALETTE)]},
            }
        )
    shape = layout(x="bits per byte behind the best", y="")
    shape["yaxis"]["autorange"] = "reversed"
    shape["showlegend"] = False
    rows = sum(len(effect.levels) for effect in effects)
    return Chart(
        name="effects",
        title="Main effects",
        caption="How much worse a value is than the best one of its axis, in the mean over the "
        "other axes, with its 95 % interval: by least squares over the designs that finished. "
        "Rules stop bad designs, so what is missing would rather have been worse."
        + (f" Here there is {NO_INTERVAL}." if any(one.unknown for one in effects) else ""),
        data=data,
        layout=shape,
        height=165 + 26 * rows,
    )


def _effect_text(effect: Effect, place: int) -> str:
    one = effect.levels[place]
    told = f"<b>{text(axis_name(effect.axis))} {text(one.value)}</b><br>"
    told += "the best value" if place == 0 else f"{one.behind:.4f} behind"
    if place and one.interval is None:
        told += f"<br>{wrapped(NO_INTERVAL)}"
    if one.interval is not None:
        told += f", {one.interval[0]:.4f} to {one.interval[1]:.4f}"
    return f"{told}<br>{formats.counted(one.designs, 'design')} finished"
