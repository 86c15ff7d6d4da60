"""What a study's report says of its cost: the forecast against what happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tune_app.dollars.limit import dollars as amount
from tune_app.formats import count, counted, duration, size
from tune_app.results.markdown import escaped
from tune_app.study.forecast import PhaseForecast, Spent, dollars_text, spent
from tune_app.study.found import Found
from tune_app.study.spec import Study

_HEAD = (
    "| phase | runs: at most | trained | tokens: at most | trained | time: at most | took "
    "| memory of a cell: about | most | dollars: about | cost |"
)


def cost_lines(found: Found, forecasts: Mapping[str, PhaseForecast]) -> Iterator[str]:
    """Forecast and cost, as Markdown."""
    yield _HEAD
    yield f"|{'---|' * (_HEAD.count('|') - 1)}"
    rows = [(forecasts.get(phase.name), spent(found, phase)) for phase in found.phases]
    for phase, (known, took) in zip(found.phases, rows, strict=True):
        yield _row(phase.name, known, took)
    forecast = [one for one, _ in rows if one is not None]
    if len(forecast) == len(rows) and rows:
        yield _row("together", _together(forecast), _all_spent(found))
    yield ""
    yield (
        "The forecast was made before the study began and is the worst case: nothing stopped, "
        "nothing adopted from an earlier phase. Times are of the cells, one after another, as they "
        "took on machines that may have had other work too. Measured memory counts libraries that "
        "several processes share, the forecast does not. Dollars are forecast for the time of the "
        "cells; starting Ray, scoring and writing results are paid too."
    )
    yield ""


def _row(name: str, known: PhaseForecast | None, took: Spent) -> str:
    told = ("", "", "", "", "")
    if known is not None:
        memory = "" if known.memory is None else size(known.memory)
        dollars = dollars_text(known.dollars)
        told = (str(known.runs), count(known.total), duration(known.seconds), memory, dollars)
    runs, tokens, seconds, memory, dollars = told
    most = "" if took.memory is None else size(took.memory)
    cost = "" if took.dollars is None else dollars_text((took.dollars, took.dollars))
    return (
        f"| {name} | {runs} | {took.runs} | {tokens} | {count(took.tokens)} | {seconds} | "
        f"{duration(took.seconds)} | {memory} | {most} | {dollars} | {cost} |"
    )


def _together(known: list[PhaseForecast]) -> PhaseForecast:
    seconds = [one.seconds for one in known if one.seconds is not None]
    dollars = [one.dollars for one in known if one.dollars is not None]
    total = sum(one.total for one in known)
    return PhaseForecast(
        name="together",
        kind="",
        runs=sum(one.runs for one in known),
        tokens=0,
        whole=total,
        seconds=sum(seconds) if seconds else None,
        memory=max((one.memory for one in known if one.memory is not None), default=None),
        dollars=(sum(low for low, _ in dollars), sum(high for _, high in dollars))
        if dollars
        else None,
    )


def _all_spent(found: Found) -> Spent:
    each = [spent(found, phase) for phase in found.phases]
    paid = [one.dollars for one in each if one.dollars is not None]
    return Spent(
        runs=sum(one.runs for one in each),
        tokens=sum(one.tokens for one in each),
        seconds=sum(one.seconds for one in each),
        memory=max((one.memory for one in each if one.memory is not None), default=None),
        dollars=sum(paid) if paid else None,
        head=sum(one.head for one in each),
    )


def spent_text(found: Found) -> str:
    """What the study cost, in a few words."""
    whole = _all_spent(found)
    return (
        f"{counted(whole.runs, 'run')}, {count(whole.tokens)} tokens, {duration(whole.seconds)} of "
        f"training in {counted(len(found.phases), 'phase')}"
        + ("" if whole.dollars is None else f", {dollars_text((whole.dollars, whole.dollars))}")
        + (f" ({amount(whole.head)} of it for the head)" if whole.head else "")
    )


def repeat_lines(study: Study, found: Found) -> Iterator[str]:
    """How others repeat the study, as Markdown."""
    if not found.phases:
        return
    sweep = found.phases[0].results.sweep
    versions = ", ".join(
        f"{name} {version}" for name, version in sweep.versions.items() if name != "source"
    )
    hosts = {
        attempt.host
        for phase in found.phases
        for cell in phase.results.cells
        for attempt in cell.attempts
    }
    source = sweep.versions.get("source", "unknown")
    yield f"- `stellux bundle {study.name}` packs it into one file, which `stellux verify` checks"
    yield f"- source `{source}`; {escaped(versions) or 'versions unknown'}"
    yield f"- corpus {escaped(sweep.corpus)}, SHA-256 `{sweep.corpus_sha256}`"
    if told := ", ".join(sorted(hosts - {""})):
        yield f"- trained on {escaped(told)}"
    yield ""
