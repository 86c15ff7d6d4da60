"""Estimates the time left for a sweep and its cells from measurements. Pure.

Method: a cell costs a fixed time (start, data, compilation) and a time per token (training, with
evaluations spread evenly over the tokens). Both come from the phases that trials report: a cell
that has begun uses its own, the others use the pooled mean of all cells. Waiting cells are
assigned in order to the slot that becomes free first; the last slot to become free ends the sweep.
All tokens are baseline tokens, in which every cell trains the same amount of text.

Stops: a cell is not assumed to be trained to the end. Its expected end is the mean end of the
cells that got further than it has: `expected_end`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from tune_app.journal.records import Observation

_PHASES_PER_TOKEN = ("train", "evaluate")


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The cost of a cell in wall seconds."""

    fixed: float
    """Seconds before the first token: start, data, compilation."""
    per_token: float
    """Seconds per baseline token, including evaluations."""
    tokens: int
    """Number of tokens in the measurement; at least 1."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """A cell in a slot."""

    share: float
    """Share of its tokens trained at its last report; 0 before it trains."""
    since: float
    """Seconds since its last report, or since its start."""
    pace: Pace | None
    """Its own pace; None before any measurement."""


def measured_pace(last: Observation) -> Pace | None:
    """The pace of a cell from its latest observation; None if it has trained no token."""
    if last.baseline_tokens <= 0:
        return None
    training = sum(last.seconds.get(phase, 0.0) for phase in _PHASES_PER_TOKEN)
    return Pace(
        fixed=sum(last.seconds.values()) - training,
        per_token=training / last.baseline_tokens,
        tokens=last.baseline_tokens,
    )


def pooled(paces: Sequence[Pace]) -> Pace | None:
    """The mean pace: fixed time averaged over cells, time per token over tokens; None if empty."""
    if not paces:
        return None
    tokens = sum(pace.tokens for pace in paces)
    return Pace(
        fixed=sum(pace.fixed for pace in paces) / len(paces),
        per_token=sum(pace.per_token * pace.tokens for pace in paces) / tokens,
        tokens=tokens,
    )


def expected_end(share: float, ended: Sequence[float]) -> float:
    """The share of its tokens at which a cell that has trained `share` is expected to end.

    The mean over the cells that ended later than that (`ended`: shares, 1 if finished) and one
    imaginary cell that finishes, so that the first stop does not decide the estimate.
    """
    further = [end for end in ended if end > share]
    return (sum(further) + 1.0) / (len(further) + 1)


def cell_seconds_left(cell: Running, *, tokens: int, pace: Pace | None, end: float = 1.0) -> float:
    """Seconds until a running cell has trained the share `end` of its `tokens`; never negative.

    `pace` is the pooled pace, used if the cell has none of its own; one of the two is required.
    """
    own = cell.pace or pace
    assert own is not None, "no pace has been measured"
    fixed = own.fixed if cell.share == 0 else 0.0
    return max(0.0, fixed + max(0.0, end - cell.share) * tokens * own.per_token - cell.since)


def sweep_seconds_left(
    *,
    tokens: int,
    slots: int,
    running: Sequence[Running],
    waiting: Sequence[float],
    ended: Sequence[float],
    pace: Pace | None,
) -> float | None:
    """Seconds until the last cell ends; None before anything has been measured.

    tokens: baseline tokens of a cell that is trained to the end.
    slots: cells at once; at least the number of running cells.
    waiting: share of its tokens that each waiting cell has trained (0 if new).
    ended: share of its tokens at which each ended cell ended.
    """
    if pace is None:
        return 0.0 if not running and not waiting else None
    free_at = [
        cell_seconds_left(cell, tokens=tokens, pace=pace, end=expected_end(cell.share, ended))
        for cell in running
    ]
    free_at += [0.0] * (max(slots, 1) - len(free_at))
    heapq.heapify(free_at)
    for share in waiting:
        cost = pace.fixed + (expected_end(share, ended) - share) * tokens * pace.per_token
        heapq.heapreplace(free_at, free_at[0] + cost)
    return max(free_at)
