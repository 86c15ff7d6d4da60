"""REPORT.md: what a sweep found, on one page, with the static plots beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tune_app.journal.records import ENDED_EARLY
from tune_app.results import sections
from tune_app.results.caveats import caveats
from tune_app.results.costs import cost_section
from tune_app.results.summary import SweepResults
from tune_app.results.whole_files import replacing

REPORT = "REPORT.md"

MOST_ROWS = 10
"""Designs and stopped cells that are shown; the tables beside the page have all."""
_MOST_CAVEATS = 4
_MOST_PLOTS = 4
_FIRST_PLOTS = ("curves", "pareto_flops", "pareto_seconds")

_MARKUP = re.compile(r"([\\`*_\[\]<>|#~])")
_BREAKS = re.compile(r"[\r\n]+")


def write_markdown(results: SweepResults, plots: Sequence[str], path: Path) -> None:
    """Writes the page.

    plots: names of the files in `plots/` beside it, without `.png`.
    """
    with replacing(path) as temporary:
        temporary.write_text(markdown(results, plots), encoding="utf-8")


def markdown(results: SweepResults, plots: Sequence[str]) -> str:
    """The page as text."""
    ranking, stopped = results.ranking, results.with_status(*ENDED_EARLY)
    told = caveats(results)
    content: dict[str, Any] = {
        "name": results.sweep.name,
        "subtitle": sections.subtitle_of(results),
        "named_by": results.title,
        "leader": sections.leader_of(results),
        "noise": sections.noise_of(results),
        "several_seeds": len(results.sweep.seeds) > 1,
        "counts": sections.counts_of(results),
        "ranking": [
            sections.ranked_row(results, place, design)
            for place, design in enumerate(ranking[:MOST_ROWS], 1)
        ],
        "more_ranked": max(0, len(ranking) - MOST_ROWS),
        "stopped": [sections.stopped_row(results, cell) for cell in stopped[:MOST_ROWS]],
        "more_stopped": max(0, len(stopped) - MOST_ROWS),
        "spent": sections.spent_on(results),
        "dollars": cost_section(results),
        "caveats": told[:_MOST_CAVEATS],
        "more_caveats": max(0, len(told) - _MOST_CAVEATS),
        "plots": _chosen(plots),
        "command": results.sweep.command,
        "source": results.sweep.versions.get("source", "unknown"),
        "corpus_sha256": results.sweep.corpus_sha256,
    }
    return template(Path(__file__).with_name("report.md.jinja"), content)


def template(path: Path, content: dict[str, Any]) -> str:
    """A Markdown template, filled in. Text cannot break a table or become markup."""
    environment = Environment(
        loader=FileSystemLoader(path.parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown: `escaped` does what is needed
        finalize=escaped,
    )
    environment.filters["code"] = _code
    return environment.get_template(path.name).render(**content)


def escaped(value: Any) -> Any:
    """Text that Markdown shows as it is, on one line; other values as they are."""
    if not isinstance(value, str) or isinstance(value, _Code):
        return value
    return _MARKUP.sub(r"\\\1", _BREAKS.sub(" ", value))


class _Code(str):
    """Text between backticks, where nothing needs to be escaped."""


def _code(value: str) -> _Code:
    text = _BREAKS.sub(" ", value).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return _Code(f"{fence}{pad}{text}{pad}{fence}")


def _chosen(plots: Sequence[str]) -> list[list[str]]:
    """The plots of the page in rows of two: the curves, by axis, and against the cost."""
    by_axis = [name for name in plots if name.startswith("by_")]
    wanted = [_FIRST_PLOTS[0], *by_axis[:2], *_FIRST_PLOTS[1:]]
    found = [name for name in wanted if name in plots][:_MOST_PLOTS]
    return [found[place : place + 2] for place in range(0, len(found), 2)]
