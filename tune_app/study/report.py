"""The report of a study: one page in words, the same as HTML with charts, and for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tune_app.formats import counted, one_line
from tune_app.results.paper import FOLDER as TABLES
from tune_app.results.paper import write_paper_tables
from tune_app.results.whole_files import replacing
from tune_app.study.charts import study_charts
from tune_app.study.definition import keep_definition
from tune_app.study.evaluated import evaluation_lines
from tune_app.study.forecast import PhaseForecast, kept_forecast
from tune_app.study.found import Found
from tune_app.study.page import PageHead, page_text
from tune_app.study.paper import paper_tables_of
from tune_app.study.replayed import Replayed, replay_lines, replayed
from tune_app.study.report_cost import cost_lines, repeat_lines, spent_text
from tune_app.study.report_phases import flips_text, phase_lines, phase_values, rate_lines
from tune_app.study.report_verdict import noise_lines, verdict_facts, verdict_lines
from tune_app.study.spec import Study
from tune_app.study.verdict import AtRate, StudyVerdict, at_other_rates, study_verdict

REPORT, PAGE, VERDICT = "REPORT.md", "report.html", "verdict.json"


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the report."""

    name: str
    """Of its place in the page, unique: a chart that belongs to it names it."""
    title: str
    lines: tuple[str, ...]
    """Markdown."""


def write_report(study: Study, found: Found, folder: Path) -> str:
    """Writes the report and the study's definition into its folder; returns the verdict in words.

    The folder has the study's forecast, and beside the report the phases that it links to.
    """
    keep_definition(study, folder)
    return write_report_files(study, found, kept_forecast(folder), folder)


def write_report_files(
    study: Study, found: Found, forecasts: Mapping[str, PhaseForecast], to: Path
) -> str:
    """Writes REPORT.md, report.html, verdict.json and the tables for a paper: all that journals and
    forecast determine.

    Returns the verdict in words.
    """
    report = report_of(study, found, forecasts)
    text = [f"# {study.name}", "", f"**{report.told}**", ""]
    for section in report.sections:
        text += [f"## {section.title}", "", *section.lines]
    text += _plots(found)
    files = {
        REPORT: "\n".join(text),
        VERDICT: json.dumps(verdict_values(study, found, report.verdict), indent=2),
        PAGE: _page(study, found, report),
    }
    for name, content in files.items():
        with replacing(to / name) as path:
            path.write_text(f"{content.rstrip()}\n", "utf-8")
    write_paper_tables(paper_tables_of(found, report.verdict), to / TABLES)
    return report.told


def _plots(found: Found) -> Iterator[str]:
    """The curves of the phases that rank and decide, as their sweeps have drawn them."""
    phases = found.of("rank", "finalists", "race")
    if phases:
        yield "## Curves"
        yield ""
    for phase in phases:
        yield f"![curves of {phase.name}]({phase.results.sweep.name}/plots/curves.png)"
        yield ""


def report_page(
    study: Study,
    found: Found,
    forecasts: Mapping[str, PhaseForecast],
    *,
    refresh: int | None = None,
) -> str:
    """The report as a page.

    refresh: seconds after which a browser loads it again; None for never.
    """
    return _page(study, found, report_of(study, found, forecasts), refresh=refresh)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a study's report says."""

    verdict: StudyVerdict | None
    told: str
    """The verdict in words."""
    sections: tuple[Section, ...]
    rankings: tuple[Replayed, ...]


def report_of(study: Study, found: Found, forecasts: Mapping[str, PhaseForecast]) -> Report:
    """The report of a study."""
    verdict, rankings = study_verdict(study, found), replayed(found)
    rates = [] if verdict is None else at_other_rates(study, found, verdict)
    return Report(
        verdict=verdict,
        told=verdict_text(verdict, rates),
        sections=tuple(report_sections(study, found, verdict, forecasts, rankings)),
        rankings=rankings,
    )


def _page(study: Study, found: Found, report: Report, *, refresh: int | None = None) -> str:
    head = PageHead(
        name=study.name,
        told=report.told,
        facts=tuple(verdict_facts(study, report.verdict)),
        spent=spent_text(found),
    )
    return page_text(
        study_charts(found, report.verdict, report.rankings),
        report.verdict,
        head=head,
        sections=[(one.name, one.title, one.lines) for one in report.sections],
        refresh=refresh,
    )


def report_sections(
    study: Study,
    found: Found,
    verdict: StudyVerdict | None,
    forecasts: Mapping[str, PhaseForecast],
    rankings: tuple[Replayed, ...],
) -> list[Section]:
    """What the report says, in its order."""
    sections = []
    if verdict is not None:
        lines = [*verdict_lines(study, found, verdict)]
        sections.append(Section(name="finalists", title="Finalists", lines=tuple(lines)))
        if rates := at_other_rates(study, found, verdict):
            sections.append(
                Section(
                    name="rates",
                    title="At other learning rates",
                    lines=(flips_text(rates), "", *rate_lines(rates)),
                )
            )
    if evaluated := evaluation_lines(found):
        sections.append(
            Section(name="evaluated", title="The finalists, evaluated", lines=tuple(evaluated))
        )
    sections += [
        Section(
            name="noise",
            title="Noise, learning rate and kill rule",
            lines=tuple(noise_lines(study, found)),
        ),
        Section(name="phases", title="Phases", lines=tuple(_overview(found))),
    ]
    sections += [
        Section(
            name=f"phase-{phase.name}",
            title=f"Phase {phase.name}",
            lines=tuple(phase_lines(study, found, phase)),
        )
        for phase in found.phases
    ]
    if rankings:
        sections.append(
            Section(
                name="replay",
                title="What other schedulers would have cost",
                lines=tuple(replay_lines(rankings)),
            )
        )
    return [
        *sections,
        Section(name="cost", title="Forecast and cost", lines=tuple(cost_lines(found, forecasts))),
        Section(name="repeat", title="To repeat it", lines=tuple(repeat_lines(study, found))),
    ]


def verdict_text(verdict: StudyVerdict | None, rates: Sequence[AtRate] = ()) -> str:
    """The verdict in a few sentences.

    rates: the same at other learning rates.
    """
    if verdict is None:
        return "No verdict: no finalists have finished on a common seed."
    text = f"Verdict, on the {verdict.split} split: {one_line(verdict.verdict.reason)}."
    if (margin := verdict.perplexity_margin) is not None:
        text += f" In the baseline's perplexity the margin is {margin:.2f}."
    return f"{text} {flips_text(rates)}" if rates else text


def verdict_values(study: Study, found: Found, verdict: StudyVerdict | None) -> dict[str, Any]:
    """What the study says as plain values, without what a clock had to do with it."""
    values: dict[str, Any] = {
        "study": study.name,
        "rate": found.rate,
        "phases": [phase_values(study, found, phase) for phase in found.phases],
    }
    if verdict is not None:
        values["verdict"] = {
            **asdict(verdict.verdict),
            "split": verdict.split,
            "baseline": verdict.baseline,
            "perplexity_margin": verdict.perplexity_margin,
            "document_interval": verdict.documents,
            "other_rates": [
                {"factor": one.factor, "flips": one.flips, **asdict(one.comparison)}
                for one in at_other_rates(study, found, verdict)
            ],
        }
    plain: dict[str, Any] = _finite(values)
    return plain


def _finite(value: Any) -> Any:
    """JSON has no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def _overview(found: Found) -> Iterator[str]:
    """Every phase in a row, with the report of its sweep."""
    yield "| phase | cells | of them | report of its sweep |"
    yield "|---|---|---|---|"
    for phase in found.phases:
        states = [cell.cell.status.value for cell in phase.results.cells]
        told = ", ".join(f"{states.count(one)} {one}" for one in dict.fromkeys(states))
        name = phase.results.sweep.name
        yield (
            f"| {phase.name} | {counted(len(states), 'cell')} | {told} | "
            f"[every decision with its reason]({name}/report.html) |"
        )
    yield ""
