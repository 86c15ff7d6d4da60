"""What the faults cost: tokens trained twice, and seconds until training had gone on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from tests.chaos.faults import FAULTS, Blow
from tests.chaos.progress import Sample
from tune_app.journal.records import Attempt

WITHOUT_STORE = "any, store away"
"""A row of its own: what was trained while nothing could be stored is lost with the host."""
STORED_AGAIN_WITHIN = 15.0
"""Seconds from the store's return to the next stored checkpoint; tries come ever more rarely."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one fault cost one cell."""

    number: int
    kind: str
    cell: str
    retrained: int | None
    """Tokens from where the next attempt resumed to the last heartbeat before the fault; 0 where
    the attempt went on; None where the attempt never said where it resumed."""
    recovery: float | None
    """Seconds to the first sign of life beyond that heartbeat; None where none came."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """All faults of a kind."""

    kind: str
    faults: int
    cells: int
    """Times that a cell was hit."""
    retrained_median: float | None
    retrained_worst: int | None
    worst_in_intervals: float | None
    """Tokens retrained at the worst, in those that a cell trains from checkpoint to checkpoint."""
    recovery_median: float | None
    recovery_worst: float | None


def costs(
    blows: Iterable[Blow], samples: Sequence[Sample], attempts: Sequence[Attempt]
) -> list[Cost]:
    """What each fault cost each cell that it hit."""
    blows = list(blows)
    found = []
    for blow in blows:
        for cell, reached in blow.reached.items():
            beyond = (
                sample.at
                for sample in samples
                if sample.cell == cell and sample.at > blow.at and sample.tokens > reached
            )
            recovered = next(beyond, None)
            next_attempts = (
                attempt
                for attempt in sorted(attempts, key=lambda attempt: attempt.started_at)
                if attempt.cell == cell
                and blow.at < attempt.started_at
                and (recovered is None or attempt.started_at <= recovered)
            )
            attempt = next(next_attempts, None)
            found.append(
                Cost(
                    number=blow.number,
                    kind=WITHOUT_STORE if _without_store(blow, blows) else blow.kind,
                    cell=cell,
                    retrained=_retrained(attempt, reached),
                    recovery=None if recovered is None else recovered - blow.at,
                )
            )
    return found


def _without_store(blow: Blow, blows: Iterable[Blow]) -> bool:
    """Whether nothing could be stored in the moments before a fault."""
    return any(
        other.kind == "store away"
        and other.number != blow.number
        and other.at <= blow.at <= other.at + other.seconds + STORED_AGAIN_WITHIN
        for other in blows
    )


def _retrained(attempt: Attempt | None, reached: int) -> int | None:
    if attempt is None:
        return 0
    # A checkpoint may be newer than the last heartbeat.
    return None if attempt.resumed_from is None else max(0, reached - attempt.resumed_from)


def rows(found: Sequence[Cost], *, tokens_per_interval: float) -> list[Row]:
    """The table: a row a kind that came, in the order of the kinds."""
    table = []
    for kind in (*FAULTS, WITHOUT_STORE):
        of_kind = [cost for cost in found if cost.kind == kind]
        if not of_kind:
            continue
        retrained = [cost.retrained for cost in of_kind if cost.retrained is not None]
        recovery = [cost.recovery for cost in of_kind if cost.recovery is not None]
        table.append(
            Row(
                kind=kind,
                faults=len({cost.number for cost in of_kind}),
                cells=len(of_kind),
                retrained_median=median(retrained) if retrained else None,
                retrained_worst=max(retrained, default=None),
                worst_in_intervals=max(retrained) / tokens_per_interval if retrained else None,
                recovery_median=median(recovery) if recovery else None,
                recovery_worst=max(recovery, default=None),
            )
        )
    return table


def as_text(table: Sequence[Row], *, interval: float, tokens_per_interval: float) -> str:
    """The table for a person."""
    titles = (
        "fault",
        "faults",
        "cells hit",
        "tokens retrained: median",
        "worst",
        "in intervals",
        "seconds to go on: median",
        "worst",
    )
    lines = [titles, *[_texts(row) for row in table]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    text = "\n".join(
        "  ".join(
            cell.ljust(d_model) if column == 0 else cell.rjust(d_model)
            for column, (cell, d_model) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
    return (
        f"{text}\nA checkpoint every {interval:g} s, in which an undisturbed cell trains "
        f"{tokens_per_interval:,.0f} tokens. Heartbeats come every 2 s, so as much may have been "
        "trained that nobody saw."
    )


def as_values(table: Sequence[Row]) -> list[dict[str, Any]]:
    """The table for a program."""
    return [asdict(row) for row in table]


def _texts(row: Row) -> tuple[str, ...]:
    def number(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    return (
        row.kind,
        str(row.faults),
        str(row.cells),
        number(row.retrained_median, ",.0f"),
        number(row.retrained_worst, ",d"),
        number(row.worst_in_intervals, ".2f"),
        number(row.recovery_median, ".1f"),
        number(row.recovery_worst, ".1f"),
    )
