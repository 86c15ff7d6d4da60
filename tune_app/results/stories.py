"""Why was this cell stopped? Every decision on a cell, with its evidence, in order. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tune_app import formats
from tune_app.journal.records import ENDED_EARLY, Action, Decision, Status
from tune_app.results.designs import CellResult
from tune_app.results.summary import SweepResults
from tune_app.stopping.all_rules import title_of

MOST_STORIES = 200
"""Cells that the page tells of; decisions.jsonl has all."""
_MOST_STEPS = 30
_LONGEST = 160


def story_section(results: SweepResults) -> dict[str, Any] | None:
    """The cells that did not simply finish, then those that did; None before any decision."""
    by_cell: dict[str, list[Decision]] = {}
    for decision in results.decisions:
        by_cell.setdefault(decision.cell, []).append(decision)
    told = [cell for cell in results.cells if by_cell.get(cell.cell.key)]
    if not told:
        return None
    told.sort(key=lambda cell: cell.cell.status not in (*ENDED_EARLY, Status.FAILED))
    return {
        "cells": [_story(results, cell, by_cell[cell.cell.key]) for cell in told[:MOST_STORIES]],
        "more": max(0, len(told) - MOST_STORIES),
    }


def _story(
    results: SweepResults, cell: CellResult, decisions: Sequence[Decision]
) -> dict[str, Any]:
    ending = cell.decision
    status = cell.cell.status.value
    return {
        "label": cell.cell.label,
        "headline": f"{status} by {title_of(ending.rule).short}"
        if ending is not None and cell.cell.status in ENDED_EARLY
        else status,
        "reason": formats.one_line("" if ending is None else ending.reason),
        "context": _context(results, cell),
        "steps": [_step(results, cell, one) for one in decisions[-_MOST_STEPS:]],
        "earlier": max(0, len(decisions) - _MOST_STEPS),
    }


def _context(results: SweepResults, cell: CellResult) -> str:
    """Where it stood then: its place among all that were seen at as many tokens, and its gap."""
    last = cell.last
    if last is None or cell.cell.status not in ENDED_EARLY:
        return ""
    there = sorted(
        point.bits_per_byte
        for other in results.cells
        for point in other.curve
        if point.baseline_tokens == last.baseline_tokens
    )
    place = sum(value < last.bits_per_byte for value in there) + 1
    told = [f"It was {place}. of {len(there)} that were ever scored at these tokens"]
    gap = dict(results.gap_curve(cell)).get(last.baseline_tokens)
    if gap is not None:
        told.append(f"{formats.gap(gap)} bits per byte to the baseline there")
        if (found := results.contest.by_noise(abs(gap), seeds=1)) is not None:
            told.append(f"which is {found.sigmas:.1f} times the noise between seeds at the end")
    left = 1 - min(1.0, last.baseline_tokens / results.sweep.tokens)
    return f"{', '.join(told)}. {left:.0%} of its tokens were not trained."


def _step(results: SweepResults, cell: CellResult, decision: Decision) -> dict[str, Any]:
    seen = next((point for point in cell.curve if point.tokens == decision.tokens), None)
    tokens = decision.tokens if seen is None else seen.baseline_tokens
    return {
        "tokens": formats.progress(tokens, results.sweep.tokens),
        "action": _ACTIONS.get(decision.action, decision.action.value),
        "rule": title_of(decision.rule).short,
        "reason": formats.one_line(decision.reason),
        "evidence": [(name.replace("_", " "), _shown(v)) for name, v in decision.evidence.items()],
    }


_ACTIONS: Mapping[Action, str] = {
    Action.CONTINUE: "goes on",
    Action.STOP: "stopped",
    Action.FINISH: "finished",
    Action.PAUSE: "paused",
    Action.PROMOTE: "promoted",
}


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return formats.number(value)
    if isinstance(value, Mapping):
        text = ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    elif isinstance(value, (list, tuple)):
        text = ", ".join(map(_shown, value))
    else:
        text = formats.one_line(str(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
