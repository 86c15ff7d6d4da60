"""report.html of a study: the verdict with its interval on top, then the report with charts.

The words are those of REPORT.md. The page is whole in itself and loads nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from tune_app.results.charts.all_charts import plotly_library
from tune_app.results.pages import chart_content, page_environment
from tune_app.study.charts import PlacedChart
from tune_app.study.verdict import StudyVerdict


@dataclass(frozen=True, kw_only=True)
class PageHead:
    """What the page begins with."""

    name: str
    told: str
    """The verdict in words."""
    facts: tuple[tuple[str, str], ...]
    """Number and what it is."""
    spent: str


def page_text(
    charts: Sequence[PlacedChart],
    verdict: StudyVerdict | None,
    *,
    head: PageHead,
    sections: Sequence[tuple[str, str, Sequence[str]]],
    refresh: int | None = None,
) -> str:
    """The page.

    Args:
        charts: each with the section that it belongs to.
        verdict: on the finalists.
        head: what the page begins with.
        sections: name, title and lines of Markdown, in order.
        refresh: seconds after which a browser loads it again; None for never.
    """
    content: dict[str, Any] = {
        "head": head,
        "title": _title(verdict),
        "won": verdict is not None and verdict.verdict.winner is not None,
        "top": _placed(charts, ""),
        "sections": [
            {"name": name, "title": title, "html": html_of(lines), "charts": _placed(charts, name)}
            for name, title, lines in sections
        ],
        "plotly": Markup(plotly_library()) if charts else "",
    }
    page = page_environment(Path(__file__).parent).get_template("report.html.jinja")
    return page.render(**content, refresh=refresh)


def _title(verdict: StudyVerdict | None) -> str:
    if verdict is None:
        return "No verdict yet"
    found = verdict.verdict
    if found.winner is not None:
        return f"{found.winner} is the best"
    others = [name for name in found.survivors if name != found.leader]
    return f"{found.leader} leads; not told apart from {', '.join(others) or 'others'}"


def _placed(charts: Sequence[PlacedChart], place: str) -> list[dict[str, Any]]:
    return [chart_content(one.chart) for one in charts if one.place == place]


def html_of(lines: Sequence[str]) -> Markup:
    """Markdown as HTML. Markup in a text of the study stays text."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    html = reader.render("\n".join(lines))
    html = html.replace("<table>", '<div class="scroll" tabindex="0">\n<table>')
    return Markup(html.replace("</table>", "</table>\n</div>"))
