"""What each kind of phase adds to a study's report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tune_app.formats import count, counted, one_line
from tune_app.journal.records import Status
from tune_app.results.markdown import escaped
from tune_app.statistics.best import Verdict, p_text
from tune_app.statistics.effects import NO_INTERVAL
from tune_app.study.ablations import Ablation, ablations
from tune_app.study.audit import Audited, audit_text, audit_values, audited
from tune_app.study.effects import axes_name, effect_values, grid_effects, level_name
from tune_app.study.found import Found, PhaseFound
from tune_app.study.frame import Frame
from tune_app.study.race import race_lines
from tune_app.study.verdict import AtRate, control_verdict

_LOST = (Status.INFEASIBLE, Status.FAILED)


def phase_lines(study: Frame, found: Found, phase: PhaseFound) -> Iterator[str]:
    """The section of a phase, as Markdown."""
    results = phase.results
    statuses = [cell.cell.status.value for cell in results.cells]
    told = ", ".join(f"{statuses.count(one)} {one}" for one in dict.fromkeys(statuses))
    yield f"{escaped(one_line(str(phase.origin.get('reason', ''))))}."
    yield ""
    yield f"{counted(len(results.cells), 'cell')} of {count(results.sweep.tokens)} tokens: {told}."
    yield ""
    lost = [one.cell for one in results.cells if one.cell.status in _LOST]
    for cell in lost:
        reason = escaped(one_line(cell.reason))
        yield f"- {cell.status.value}: {cell_text(cell.label)}: {reason}"
    if lost:
        yield ""
    if phase.kind in _LINES:
        yield from _LINES[phase.kind](study, found, phase)


def phase_values(study: Frame, found: Found, phase: PhaseFound) -> dict[str, Any]:
    """A phase as plain values."""
    values: dict[str, Any] = {
        "name": phase.name,
        "kind": phase.kind,
        "reason": phase.origin.get("reason", ""),
        "cells": [
            {
                "cell": cell.cell.label,
                "key": cell.cell.key,
                "status": cell.cell.status.value,
                "bits_per_byte": cell.score,
                "test_bits_per_byte": None if cell.test is None else cell.test.bits_per_byte,
            }
            for cell in phase.results.cells
        ],
    }
    if phase.kind == "rank":
        values["effects"] = effect_values(grid_effects(found, phase).effects)
    elif phase.kind == "audit":
        values["audited"] = audit_values(audited(found))
    elif phase.kind == "control":
        verdict = control_verdict(study, phase)
        values["verdict"] = None if verdict is None else verdict.reason
        values["p"] = None if verdict is None else verdict.p
    elif phase.kind == "ablate":
        values["ablations"] = [vars(one) for one in ablations(study, found, phase)]
    return values


def rate_lines(rates: Sequence[AtRate]) -> Iterator[str]:
    """The verdict at other learning rates, as Markdown."""
    if not rates:
        return
    yield "| learning rate | runner-up behind by | interval | p | |"
    yield "|---|---|---|---|---|"
    for one in rates:
        found = one.comparison
        yield (
            f"| × {one.factor:g} | {found.by:.4f} | {interval_text(found.interval)} | "
            f"{p_text(found.p)} | {'the order flips' if one.flips else ''} |"
        )
    yield ""


def flips_text(rates: Sequence[AtRate]) -> str:
    """Whether the order holds at other learning rates, in a sentence."""
    flips = [one for one in rates if one.flips]
    if not flips:
        factors = " and × ".join(f"{one.factor:g}" for one in rates)
        return f"The order is the same at the learning rate × {factors}."
    told = ", ".join(
        f"× {one.factor:g} by {-one.comparison.by:.4f} bpb ({p_text(one.comparison.p)})"
        for one in flips
    )
    return f"The order flips at another learning rate, so the rate decides it: at {told}."


def _rank_lines(study: Frame, found: Found, phase: PhaseFound) -> Iterator[str]:
    grid = grid_effects(found, phase)
    if not grid.effects:
        return
    yield "| axis | value | behind the best | interval | designs |"
    yield "|---|---|---|---|---|"
    for effect in grid.effects:
        for level in effect.levels:
            behind = "best" if level is effect.best else f"{level.behind:.4f}"
            interval = "" if level is effect.best else "unknown"
            if level.interval is not None:
                interval = interval_text(level.interval)
            name = cell_text(level_name(effect.axis, level.value))
            axis = cell_text(axes_name(effect.axis))
            yield f"| {axis} | {name} | {behind} | {interval} | {level.designs} |"
    yield ""
    if any(effect.unknown for effect in grid.effects):
        yield f"Unknown: {NO_INTERVAL}."
        yield ""
    if grid.stopped:
        yield (
            f"Main effects of the designs that finished; {grid.stopped} that did not count "
            "nowhere, which flatters the values that lost most of theirs."
        )
        yield ""


def _ablate_lines(study: Frame, found: Found, phase: PhaseFound) -> Iterator[str]:
    rows: list[Ablation] = ablations(study, found, phase)
    if not rows:
        return
    yield "| change | worse by | interval | p | embedding share | d_model |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        interval = "" if row.interval is None else interval_text(row.interval)
        yield (
            f"| {cell_text(row.change)} | {row.by:.4f} | {interval} | "
            f"{'' if row.p is None else p_text(row.p)} | {100 * row.share_before:.1f} → "
            f"{100 * row.share_after:.1f} % | {row.width_before} → {row.width_after} |"
        )
    yield ""
    yield "Against the best design before this phase, on the seeds of both; p by Holm's method."
    yield ""


def _audit_lines(study: Frame, found: Found, phase: PhaseFound) -> Iterator[str]:
    cells: list[Audited] = audited(found)
    yield f"False kills: {audit_text(cells)}."
    yield ""
    if not cells:
        return
    yield "| stopped cell | by | at | ended at | to beat | wrong |"
    yield "|---|---|---|---|---|---|"
    for cell in cells:
        yield (
            f"| {cell_text(cell.label)} | {cell.rule.replace('_', ' ')} | {count(cell.at)} | "
            f"{cell.score:.4f} | {cell.reference:.4f} | {'yes' if cell.wrong else 'no'} |"
        )
    yield ""


def _control_lines(study: Frame, found: Found, phase: PhaseFound) -> Iterator[str]:
    verdict: Verdict | None = control_verdict(study, phase)
    told = "no verdict: not every run finished" if verdict is None else verdict.reason
    yield f"{told[:1].upper()}{told[1:]}."
    if verdict is not None:
        for one in verdict.behind:
            if one.told_apart:
                yield f"{one.name} is worse than {verdict.leader} ({p_text(one.p)})."
    yield ""


_LINES: Mapping[str, Callable[[Frame, Found, PhaseFound], Iterator[str]]] = {
    "rank": _rank_lines,
    "ablate": _ablate_lines,
    "audit": _audit_lines,
    "control": _control_lines,
    "race": race_lines,
}


def interval_text(interval: tuple[float, float]) -> str:
    """`0.0012 to 0.0345`."""
    low, high = interval
    return f"{low:.4f} to {high:.4f}" if math.isfinite(low) and math.isfinite(high) else "unknown"


def cell_text(text: str) -> str:
    """Text in a cell of a Markdown table, which no character of it can end."""
    return str(escaped(one_line(text)))
