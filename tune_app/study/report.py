"""The report of a study: one page in words, and the same numbers for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tune_app.formats import count, counted, duration, one_line
from tune_app.results.whole_files import replacing
from tune_app.statistics.best import POWER, p_text
from tune_app.study.forecast import PhaseForecast, kept_forecast, spent
from tune_app.study.found import Found
from tune_app.study.kill_rule import kill_rule_lines
from tune_app.study.report_phases import (
    cell_text,
    flips_text,
    interval_text,
    phase_lines,
    phase_values,
    rate_lines,
)
from tune_app.study.spec import Study
from tune_app.study.verdict import AtRate, StudyVerdict, at_other_rates, study_verdict

REPORT = "REPORT.md"
VERDICT = "verdict.json"


def write_report(study: Study, found: Found, folder: Path) -> str:
    """Writes REPORT.md and verdict.json into the study's folder; returns the verdict in words."""
    verdict = study_verdict(study, found)
    lines = [*_lines(study, found, verdict), *_cost_lines(found, kept_forecast(folder))]
    values = verdict_values(study, found, verdict)
    for name, text in ((REPORT, "\n".join(lines)), (VERDICT, json.dumps(values, indent=2))):
        with replacing(folder / name) as path:
            path.write_text(f"{text}\n", "utf-8")
    return _told(study, found, verdict)


def _told(study: Study, found: Found, verdict: StudyVerdict | None) -> str:
    rates = [] if verdict is None else at_other_rates(study, found, verdict)
    return verdict_text(verdict, rates)


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


def _lines(study: Study, found: Found, verdict: StudyVerdict | None) -> Iterator[str]:
    yield f"# {study.name}"
    yield ""
    yield f"**{_told(study, found, verdict)}**"
    yield ""
    if verdict is not None:
        yield from _verdict_lines(study, verdict)
        yield from rate_lines(at_other_rates(study, found, verdict))
    yield "## Noise and learning rate"
    yield ""
    yield from _noise_lines(found)
    yield "## Phases"
    yield ""
    for phase in found.phases:
        yield from phase_lines(study, found, phase)


def _cost_lines(found: Found, forecasts: Mapping[str, PhaseForecast]) -> Iterator[str]:
    yield "## Forecast and cost"
    yield ""
    yield "| phase | forecast at most | | | trained | | |"
    yield "|---|---|---|---|---|---|---|"
    yield "| | runs | tokens | time | runs | tokens | time |"
    for phase in found.phases:
        known, took = forecasts.get(phase.name), spent(found, phase)
        told = ("", "", "")
        if known is not None:
            told = (str(known.runs), count(known.total), duration(known.seconds))
        yield (
            f"| {phase.name} | {' | '.join(told)} | {took.runs} | {count(took.tokens)} | "
            f"{duration(took.seconds)} |"
        )
    yield ""
    yield (
        "The forecast is the worst case: nothing stopped, nothing adopted from an earlier phase. "
        "Times are of the cells, one after another."
    )


def _verdict_lines(study: Study, told: StudyVerdict) -> Iterator[str]:
    verdict = told.verdict
    yield "| design | bits per byte | behind | interval | p | baseline's perplexity |"
    yield "|---|---|---|---|---|---|"
    behind = {one.name: one for one in verdict.behind}
    for name, mean in verdict.means.items():
        shown = cell_text(name) + (" (baseline)" if name == told.baseline else "")
        perplexity = f"{told.perplexities[name]:.2f}"
        if name not in behind:
            yield f"| {shown} | {mean:.4f} | leader | | | {perplexity} |"
            continue
        one = behind[name]
        interval = interval_text(one.interval)
        mark = "" if one.told_apart else "≈ "
        yield (
            f"| {shown} | {mean:.4f} | {mark}{one.by:.4f} | {interval} | {p_text(one.p)} | "
            f"{perplexity} |"
        )
    yield ""
    yield (
        f"Means over {counted(len(verdict.seeds), 'seed')} that no earlier phase used, on the "
        f"{told.split} split, which each finalist was scored on once. ≈: not told apart from the "
        f"leader. Intervals hold together with {1 - verdict.alpha:.0%} confidence (Dunnett's "
        "distribution against the best, both sides); p is corrected by Holm's method."
    )
    yield ""
    if verdict.smallest_shown is not None and verdict.smallest_found is not None:
        yield (
            f"The smallest lead that these data would have called one is "
            f"{verdict.smallest_shown:.4f} bpb; a true lead of {verdict.smallest_found:.4f} bpb "
            f"would have been found in {POWER:.0%} of cases. What matters is set to "
            f"{study.smallest_difference:g} bpb."
        )
        yield ""
    if told.documents is not None:
        yield (
            f"Over seeds and parts of the dev sample, by a hierarchical bootstrap, the margin is "
            f"{interval_text(told.documents)} bpb. It stands beside the test above and does not "
            "replace it."
        )
        yield ""


def _noise_lines(found: Found) -> Iterator[str]:
    for tokens in dict.fromkeys(run.tokens for run in found.runs):
        noise = found.noise(tokens)
        if noise is None:
            continue
        low, high = noise.interval
        yield (
            f"- σ of a single run of {count(tokens)} tokens: {noise.sigma:.4f} bpb "
            f"({low:.4f} to {high:.4f}), from {noise.source}, {noise.degrees_of_freedom} degrees "
            "of freedom"
        )
        curve = found.noise_curve(tokens)
        if curve:
            along = ", ".join(f"{count(at)} {one.sigma:.4f}" for at, one in curve)
            yield f"  - along the curve, on the dev sample: {along}"
    if found.settled is not None:
        yield f"- {found.settled.reason}"
    yield from (f"- {line}" for line in kill_rule_lines(found))
    yield ""
