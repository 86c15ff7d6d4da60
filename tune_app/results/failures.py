"""The report's sections on failures: what ended a cell, what was retried, and from where.

Tokens are those of the cell's own tokenizer, as recorded with the failure.
"""

from __future__ import annotations

from typing import Any

from tune_app import formats
from tune_app.journal.records import Failure, Status
from tune_app.results.designs import CellResult
from tune_app.results.summary import SweepResults

_SHOWN = 100
"""Maximum failures in the table, so that a host lost again and again does not fill the page."""

_RESUMES = 8
"""Maximum resumes shown per cell, the latest ones."""


def failure_sections(results: SweepResults) -> dict[str, Any]:
    """Values for the report template, by name."""
    labels = {result.cell.key: result.cell.label for result in results.cells}
    earlier = max(0, len(results.failures) - _SHOWN)
    return {
        "failed": [_failed(cell) for cell in results.with_status(Status.FAILED)],
        "failures": [
            {"label": labels[failure.cell], **_failure(failure)}
            for failure in results.failures[earlier:]
        ],
        "earlier_failures": earlier,
        "repeated": [_repeated(cell) for cell in results.cells if cell.cell.attempts > 1],
    }


def _failed(result: CellResult) -> dict[str, Any]:
    failure, attempts = result.failure, result.cell.attempts
    assert failure is not None, "a failed cell has a failure"
    words = [f"{failure.kind.value} failure"]
    if failure.tokens:
        words.append(f"at {formats.count(failure.tokens)} tokens")
    if failure.host:
        words.append(f"on {formats.one_line(failure.host)}")
    words.append(f"in attempt {attempts}; cause {_cause(failure)}")
    text = " ".join(words)
    return {
        "label": result.cell.label,
        "reason": formats.one_line(failure.reason),
        "circumstances": f"{text}; {formats.one_line(failure.remedy)}" if failure.remedy else text,
        "traceback": failure.traceback.strip(),
    }


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "kind": failure.kind.value,
        "host": formats.one_line(failure.host) or formats.UNKNOWN,
        "tokens": formats.count(failure.tokens) if failure.tokens else formats.UNKNOWN,
        "reason": formats.one_line(failure.reason),
        "cause": _cause(failure),
        "remedy": formats.one_line(failure.remedy) or formats.UNKNOWN,
    }


def _repeated(result: CellResult) -> dict[str, Any]:
    hosts = [formats.one_line(attempt.host) for attempt in result.attempts if attempt.host]
    resumed = [formats.count(one.resumed_from) for one in result.attempts if one.resumed_from]
    newest = resumed if len(resumed) <= _RESUMES else ["…", *resumed[-_RESUMES:]]
    return {
        "label": result.cell.label,
        "status": result.cell.status.value,
        "attempts": result.cell.attempts,
        "resumes": result.resumes,
        "resumed_from": ", ".join(newest) or formats.UNKNOWN,
        # Each once, in order of first use.
        "hosts": ", ".join(dict.fromkeys(hosts)) or formats.UNKNOWN,
    }


def _cause(failure: Failure) -> str:
    return formats.one_line(failure.cause) or "unknown"
