"""The report: one self-contained HTML page that opens from disk and loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tune_app import formats
from tune_app.journal.records import ENDED_EARLY, Status
from tune_app.results import sections
from tune_app.results.caveats import caveats
from tune_app.results.charts.all_charts import charts, optuna_views, plotly_library
from tune_app.results.charts.replay import replay_charts, reported_of
from tune_app.results.confounders import confounder_section
from tune_app.results.costs import cost_section
from tune_app.results.equal_budgets import view_section
from tune_app.results.failures import failure_sections
from tune_app.results.nuisance import nuisance_section
from tune_app.results.pages import chart_content, page_environment
from tune_app.results.proposals import search_section
from tune_app.results.stories import story_section
from tune_app.results.summary import SweepResults
from tune_app.results.whole_files import replacing


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A plot as embedded in the page."""

    name: str
    png: bytes
    caption: str


def write_report(results: SweepResults, pictures: Sequence[Picture], path: Path) -> None:
    """Writes the page."""
    with replacing(path) as temporary:
        temporary.write_text(report_page(results, pictures), encoding="utf-8")


def report_page(
    results: SweepResults, pictures: Sequence[Picture], *, refresh: int | None = None
) -> str:
    """The page as text.

    refresh: seconds after which a browser loads it again; None for never.
    """
    return (
        page_environment(Path(__file__).parent)
        .get_template("report.html.jinja")
        .render(**_content(results, pictures), refresh=refresh)
    )


def _content(results: SweepResults, pictures: Sequence[Picture]) -> dict[str, Any]:
    sweep = results.sweep
    return {
        "name": sweep.name,
        "subtitle": sections.subtitle_of(results),
        "named_by": results.title,
        "counts": sections.counts_of(results),
        "leader": sections.leader_of(results),
        "several_seeds": len(sweep.seeds) > 1,
        "noise": sections.noise_of(results),
        "nuisance": nuisance_section(results),
        "views": view_section(results),
        "confounders": confounder_section(results),
        "search": search_section(results),
        "tested": any(design.test_scores for design in results.ranking),
        "ranking": [
            sections.ranked_row(results, place, d) for place, d in enumerate(results.ranking, 1)
        ],
        "training": sections.training_of(results),
        "stopped": [
            sections.stopped_row(results, cell) for cell in results.with_status(*ENDED_EARLY)
        ],
        **failure_sections(results),
        "infeasible": [
            {"label": cell.cell.label, "reason": formats.one_line(cell.cell.reason)}
            for cell in results.with_status(Status.INFEASIBLE)
        ],
        "waiting": [
            f"{cell.cell.label} ({cell.cell.status.value}"
            + (
                f", {formats.progress(cell.last.baseline_tokens, sweep.tokens)}"
                if cell.last
                else ""
            )
            + ")"
            for cell in results.cells
            if cell.cell.status.waits or cell.cell.status is Status.LEFT_OUT
        ],
        "checkpoints": [
            {"label": cell.cell.label, "status": cell.cell.status.value, "place": cell.checkpoint}
            for cell in results.cells
            if cell.checkpoint is not None
        ],
        "spent": sections.spent_on(results),
        "dollars": cost_section(results),
        "pictures": [
            {
                "name": picture.name,
                "uri": "data:image/png;base64," + base64.b64encode(picture.png).decode(),
                "caption": picture.caption,
            }
            for picture in pictures
        ],
        **_charts(results),
        "stories": story_section(results),
        "caveats": caveats(results),
        "settings": sections.settings_of(results),
    }


def _charts(results: SweepResults) -> dict[str, Any]:
    """The charts as JSON for plotly.js, and plotly.js itself if there is one."""
    replayed = reported_of(results)
    own, optuna = [*charts(results), *replay_charts(replayed)], optuna_views(results)
    return {
        "charts": [chart_content(chart) for chart in own],
        "no_replay": replayed.why_not,
        "optuna_views": [chart_content(chart) for chart in optuna],
        "plotly": Markup(plotly_library()) if own or optuna else "",
    }
