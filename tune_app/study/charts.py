"""The charts of a study's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tune_app.formats import bits_per_byte
from tune_app.plan.cell_names import CellNames
from tune_app.results.charts.chart import MOST_NAMED, Chart, layout, text, wrapped
from tune_app.results.charts.replay import replay_charts
from tune_app.results.plots.style import PALETTE
from tune_app.study.effects import GridEffects, grid_effects, level_name
from tune_app.study.found import Found, Run, differing, names_of
from tune_app.study.replayed import Replayed
from tune_app.study.verdict import StudyVerdict


@dataclass(frozen=True, kw_only=True)
class PlacedChart:
    """A chart, and the name of the section that it belongs to; empty for the top of the page."""

    place: str
    chart: Chart


def study_charts(
    found: Found, verdict: StudyVerdict | None, rankings: Sequence[Replayed]
) -> list[PlacedChart]:
    """All that there is something to draw for."""
    charts: list[PlacedChart] = []
    if verdict is not None and verdict.verdict.noise is not None and verdict.verdict.behind:
        charts.append(PlacedChart(place="", chart=_margins(verdict)))
    if any(run.result.points for run in found.runs):
        charts.append(PlacedChart(place="phases", chart=_curves(found)))
    if any(run.score is not None for run in found.runs):
        charts.append(PlacedChart(place="phases", chart=_scores(found)))
    for number, phase in enumerate(found.of("rank")):
        effects = grid_effects(found, phase)
        if effects.effects:
            place = f"phase-{phase.name}"
            charts.append(PlacedChart(place=place, chart=_effects(effects, number)))
    for number, one in enumerate(rankings):
        drawn = replay_charts(one.found, name=f"replay-{number}")
        charts += [PlacedChart(place="replay", chart=chart) for chart in drawn]
    return charts


def _margins(told: StudyVerdict) -> Chart:
    """How far each finalist is behind the leader."""
    verdict = told.verdict
    behind = list(verdict.behind)
    names = [text(verdict.leader), *(text(one.name) for one in behind)]
    shape = layout(x=f"behind the leader on the {told.split} split, bits per byte", y="")
    # A design may be called 2.66: a name, not a place on a scale.
    shape["yaxis"] |= {"type": "category", "autorange": "reversed"}
    shape["xaxis"]["zeroline"] = True
    shape["xaxis"]["zerolinecolor"] = "#888888"
    shape["showlegend"] = False
    hover = [
        f"<b>{names[0]}</b><br>the leader, {verdict.means[verdict.leader]:.4f} bits per byte",
        *(
            f"<b>{text(one.name)}</b><br>{one.by:.4f} behind, {one.interval[0]:.4f} to "
            f"{one.interval[1]:.4f}<br>{'told apart' if one.told_apart else 'not told apart'}"
            for one in behind
        ),
    ]
    return Chart(
        name="margins",
        title="Behind the leader",
        caption=f"Means over {len(verdict.seeds)} fresh seeds with intervals that hold together "
        f"with {1 - verdict.alpha:.0%} confidence. Where one crosses 0, the order may be chance.",
        data=[
            {
                "type": "scatter",
                "mode": "markers",
                "x": [0.0, *(one.by for one in behind)],
                "y": names,
                "error_x": _error_bars(
                    [(0.0, (0.0, 0.0)), *((one.by, one.interval) for one in behind)]
                ),
                "text": hover,
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {"size": 11, "color": PALETTE[0]},
            }
        ],
        layout=shape,
        height=130 + 42 * len(names),
    )


def _error_bars(rows: Sequence[tuple[float, tuple[float, float]]]) -> Mapping[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - middle for middle, (_, high) in rows],
        "arrayminus": [middle - low for middle, (low, _) in rows],
        "thickness": 1.6,
        "width": 5,
    }


def _names(found: Found) -> dict[str, str]:
    """Design → its name among all designs of the study."""
    values = {run.design: run.values for run in found.runs}
    return dict(zip(values, names_of(list(values.values())), strict=True))


def _named_by(found: Found) -> str:
    """What those names are made of."""
    values = list({run.design: run.values for run in found.runs}.values())
    axes = differing(values)
    return CellNames(values, axes).title if axes else "nothing: there is only the baseline"


def _colours(found: Found) -> dict[str, str]:
    return {phase.name: PALETTE[at % len(PALETTE)] for at, phase in enumerate(found.phases)}


def _told(run: Run, names: Mapping[str, str]) -> str:
    lines = [f"<b>{text(names[run.design])}</b>, seed {run.seed}", f"trained in {text(run.phase)}"]
    if run.score is not None:
        lines.append(f"{bits_per_byte(run.score)} bits per byte, full dev split")
    else:
        lines += [run.status.value, wrapped(run.result.cell.reason)]
    return "<br>".join(line for line in lines if line)


def _curves(found: Found) -> Chart:
    """Every run's curve, in the colour of the phase that trained it."""
    names, colours = _names(found), _colours(found)
    data: list[dict[str, Any]] = []
    named: set[str] = set()
    for run in found.runs:
        points = run.result.points
        if not points:
            continue
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": text(run.phase),
                "legendgroup": text(run.phase),
                "showlegend": run.phase not in named,
                "x": [tokens for tokens, _ in points],
                "y": [value for _, value in points],
                "line": {
                    "color": colours[run.phase],
                    "width": 1.4,
                    "dash": "dot" if run.score is None else "solid",
                },
                "hovertemplate": f"{_told(run, names)}<br>%{{x:,}} tokens<br>%{{y:.4f}} bits per "
                "byte of the sample<extra></extra>",
            }
        )
        named.add(run.phase)
    late = [
        value
        for run in found.runs
        for tokens, value in run.result.points
        if tokens >= run.tokens / 4
    ]
    shape = layout(x="tokens", y="dev bits per byte")
    if late and min(late) < max(late):
        room = 0.06 * (max(late) - min(late))
        shape["yaxis"]["range"] = [min(late) - room, max(late) + room]
    return Chart(
        name="curves",
        title="Every run",
        caption="A line is a run on the sample of dev documents; dotted: not trained to its end. "
        "A click on a phase hides its runs; double-click shows everything.",
        data=data,
        layout=shape,
        height=480,
    )


def _scores(found: Found) -> Chart:
    """The score of every run by design: what seeds move against what designs move."""
    names, colours = _names(found), _colours(found)
    runs = [run for run in found.runs if run.score is not None]
    best: dict[str, float] = {}
    for run in runs:
        assert run.score is not None
        best[run.design] = min(run.score, best.get(run.design, run.score))
    order = sorted(best, key=lambda design: best[design])[:MOST_NAMED]
    data = []
    for phase in found.phases:
        own = [run for run in runs if run.phase == phase.name and run.design in order]
        if own:
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": text(phase.name),
                    "x": [run.score for run in own],
                    "y": [text(names[run.design]) for run in own],
                    "text": [_told(run, names) for run in own],
                    "hovertemplate": "%{text}<extra></extra>",
                    "marker": {"size": 9, "color": colours[phase.name], "opacity": 0.8},
                }
            )
    shape = layout(x="bits per byte, full dev split", y="")
    shape["legend"]["y"] = -90 / (110 + 24 * len(order))  # below the title of the axis
    shape["yaxis"] |= {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": [text(names[design]) for design in order],
        "autorange": "reversed",
    }
    more = f" The best {MOST_NAMED} of {len(best)} designs." if len(best) > MOST_NAMED else ""
    return Chart(
        name="scores",
        title="Scores by design",
        caption="A mark is a run that was trained to its end; marks of one row differ in their "
        f"seed, or in how long they trained. Named by {_named_by(found)}.{more}",
        data=data,
        layout=shape,
        height=200 + 24 * len(order),
    )


def _effects(grid: GridEffects, number: int) -> Chart:
    rows = [
        (level_name(effect.axis, level.value), level, effect)
        for effect in grid.effects
        for level in effect.levels
    ]
    colours = {effect.axis: PALETTE[at % len(PALETTE)] for at, effect in enumerate(grid.effects)}
    shape = layout(x="bits per byte behind the best", y="")
    shape["yaxis"]["autorange"] = "reversed"
    shape["showlegend"] = False
    hover = [
        f"<b>{text(name)}</b><br>"
        + ("the best value" if level is effect.best else f"{level.behind:.4f} behind")
        + (
            f", {level.interval[0]:.4f} to {level.interval[1]:.4f}"
            if level.interval is not None
            else ""
        )
        + f"<br>{level.designs} of its designs finished"
        for name, level, effect in rows
    ]
    return Chart(
        name=f"effects-{number}",
        title="Main effects",
        caption="How much worse a value is than the best one of its axis, in the mean over the "
        "other axes, with its 95 % interval.",
        data=[
            {
                "type": "scatter",
                "mode": "markers",
                "x": [level.behind for _, level, _ in rows],
                "y": [text(name) for name, _, _ in rows],
                "error_x": _error_bars(
                    [
                        (level.behind, level.interval or (level.behind, level.behind))
                        for _, level, _ in rows
                    ]
                ),
                "text": hover,
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {"size": 9, "color": [colours[effect.axis] for *_, effect in rows]},
            }
        ],
        layout=shape,
        height=165 + 26 * len(rows),
    )
