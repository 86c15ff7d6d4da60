"""A study's tables fit for a paper, as CSV and LaTeX: the verdict, and the main effects."""

from __future__ import annotations

from tune_app.results.paper import PaperTable
from tune_app.statistics.best import p_text
from tune_app.study.effects import axes_name, grid_effects, level_name
from tune_app.study.found import Found
from tune_app.study.report_phases import interval_text
from tune_app.study.verdict import StudyVerdict


def paper_tables_of(found: Found, told: StudyVerdict | None) -> list[PaperTable]:
    """Those that have rows."""
    tables = [] if told is None else [_verdict(told)]
    tables += [_effects(found, number) for number in range(len(found.of("rank")))]
    return [table for table in tables if table.rows]


def _verdict(told: StudyVerdict) -> PaperTable:
    verdict = told.verdict
    behind = {one.name: one for one in verdict.behind}
    rows = []
    for name, mean in verdict.means.items():
        one = behind.get(name)
        rest = ("", "", "")
        if one is not None:
            p = p_text(one.p).removeprefix("p ").removeprefix("= ")
            rest = (f"{one.by:.4f}", interval_text(one.interval), p)
        rows.append((name, f"{mean:.4f}", *rest, f"{told.perplexities[name]:.2f}"))
    return PaperTable(
        name="verdict",
        caption=f"Finalists on the {told.split} split, means over {len(verdict.seeds)} seeds; "
        f"intervals hold together with {1 - verdict.alpha:.0%} confidence, p by Holm's method",
        columns=("design", "bits per byte", "behind", "interval", "p", "baseline's perplexity"),
        rows=tuple(rows),
    )


def _effects(found: Found, number: int) -> PaperTable:
    phase = found.of("rank")[number]
    rows = [
        (
            f"{axes_name(effect.axis)}: {level_name(effect.axis, level.value)}",
            f"{level.behind:.4f}",
            "" if level.interval is None else interval_text(level.interval),
            str(level.designs),
        )
        for effect in grid_effects(found, phase).effects
        for level in effect.levels
    ]
    return PaperTable(
        name=f"effects-{phase.name}",
        caption=f"Main effects in {phase.name}: bits per byte behind the best value of the axis, "
        "with 95 % intervals",
        columns=("value", "behind", "interval", "designs"),
        rows=tuple(rows),
    )
