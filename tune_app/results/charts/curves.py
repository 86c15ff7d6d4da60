"""The curves of all cells, with every stop, pause and promotion."""

from __future__ import annotations

from typing import Any

from tune_app import formats
from tune_app.journal.records import Action, Decision, Status
from tune_app.results.charts.chart import MOST_NAMED, Chart, colours, facts, layout, text, wrapped
from tune_app.results.designs import CellResult, Design
from tune_app.results.summary import SweepResults
from tune_app.stopping.all_rules import title_of

_MARKS: dict[Action, tuple[str, str]] = {
    Action.STOP: ("stopped", "x"),
    Action.PAUSE: ("paused", "line-ns-open"),
    Action.PROMOTE: ("promoted", "triangle-right-open"),
    Action.FINISH: ("finished", "circle"),
}


def curve_charts(results: SweepResults) -> list[Chart]:
    """Bits per byte by tokens, and the gaps to the baseline at equal tokens."""
    score = _chart(results, gaps=False)
    gap = _chart(results, gaps=True)
    return [chart for chart in (score, gap) if chart is not None]


def _chart(results: SweepResults, *, gaps: bool) -> Chart | None:
    colour = colours(results)
    data: list[dict[str, Any]] = []
    marks: dict[Action, dict[str, list[Any]]] = {}
    decisions: dict[str, list[Decision]] = {}
    for decision in results.decisions:
        decisions.setdefault(decision.cell, []).append(decision)
    for design in results.designs:
        for cell in design.cells:
            points = dict(results.gap_curve(cell) if gaps else cell.points)
            if not points or (gaps and design.is_baseline):
                continue
            data.append(_line(cell, design, points, colour[design.label], gaps=gaps))
            for decision in decisions.get(cell.cell.key, []):
                _mark(marks, cell, decision, points, colour[design.label])
    if not data:
        return None
    named = len(data) <= MOST_NAMED
    for line in data:
        line["showlegend"] = named
    for action, mark in marks.items():
        name, symbol = _MARKS[action]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": mark["x"],
                "y": mark["y"],
                "text": mark["text"],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {
                    "symbol": symbol,
                    "size": 10 if action is not Action.FINISH else 8,
                    "color": mark["color"],
                    "line": {"width": 2 if symbol.endswith("open") else 0},
                },
            }
        )
    low, high = _range(results, gaps=gaps)
    y = "above the baseline, bits per byte" if gaps else "dev bits per byte"
    shape = layout(x="tokens", y=y)
    if low < high:
        margin = 0.06 * (high - low)
        shape["yaxis"]["range"] = [low - margin, high + margin]
    return Chart(
        name="gaps" if gaps else "curves",
        title="Gap to the baseline" if gaps else "Curves",
        caption="A line is a cell on the sample of dev documents; hover a mark for the reason of a "
        "stop, a pause or a promotion. Double-click shows everything, a drag magnifies."
        + (" Compared with the baseline at equal tokens; negative is better." if gaps else ""),
        data=data,
        layout=shape,
        height=480,
    )


def _line(
    cell: CellResult, design: Design, points: dict[int, float], colour: str, *, gaps: bool
) -> dict[str, Any]:
    unit = "above the baseline" if gaps else "bits per byte"
    return {
        "type": "scatter",
        "mode": "lines",
        "name": text(cell.cell.label) + (" (baseline)" if design.is_baseline else ""),
        "x": list(points),
        "y": list(points.values()),
        "line": {
            "color": colour,
            "width": 3 if design.is_baseline else 1.4,
            "dash": "solid" if cell.cell.status is Status.FINISHED else "dot",
        },
        "hovertemplate": f"<b>{text(cell.cell.label)}</b><br>%{{x:,}} tokens<br>%{{y:.4f}} {unit}"
        f"<br>{facts(cell)}<br>{cell.cell.status.value}<extra></extra>",
    }


def _mark(
    marks: dict[Action, dict[str, list[Any]]],
    cell: CellResult,
    decision: Decision,
    points: dict[int, float],
    colour: str,
) -> None:
    """Adds the mark of a decision at its observation, if that is on the curve."""
    if decision.action not in _MARKS:
        return
    seen = next((point for point in cell.curve if point.tokens == decision.tokens), None)
    if seen is None or seen.baseline_tokens not in points:
        return
    name, _ = _MARKS[decision.action]
    mark = marks.setdefault(decision.action, {"x": [], "y": [], "text": [], "color": []})
    mark["x"].append(seen.baseline_tokens)
    mark["y"].append(points[seen.baseline_tokens])
    mark["color"].append(colour)
    mark["text"].append(
        f"<b>{text(cell.cell.label)}</b> {name} by {text(title_of(decision.rule).short)}<br>"
        f"{seen.baseline_tokens:,} tokens, {formats.bits_per_byte(seen.bits_per_byte)} bits per "
        f"byte<br>{wrapped(decision.reason)}"
    )


def _range(results: SweepResults, *, gaps: bool) -> tuple[float, float]:
    """Of what comes after the steep first quarter."""
    start = results.sweep.tokens / 4
    values = [
        value
        for cell in results.cells
        for tokens, value in (results.gap_curve(cell) if gaps else cell.points)
        if tokens >= start
    ]
    return (min(values), max(values)) if values else (0.0, 0.0)
