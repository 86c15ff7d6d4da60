"""How long a sweep and its cells will still take, from what has been measured. Pure.

The method. A cell costs a fixed time (start, data, compilation) and a time per token (training,
with the evaluations spread evenly over the tokens). Both are taken from the phases that trials
report: the pooled mean of all cells for those that have not begun, the cell's own for those that
have. Cells that wait are put into the slots in order, each into the one that becomes free first;
the last slot to become free ends the sweep. Tokens are the baseline's throughout, in which every
cell trains the same amount of text.

Stops. A cell is not assumed to run to its end. It is assumed to end where, on average, those
cells ended that came further than it has: `expected_end`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from tune_app.journal.records import Observation

_PHASES_PER_TOKEN = ("train", "evaluate")


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What a cell costs in wall seconds."""

    fixed: float
    """Seconds before the first token: start, data, compilation."""
    per_token: float
    """Seconds a token of the baseline, evaluations included."""
    tokens: int
    """That it was measured over; at least 1."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """A cell in a slot."""

    share: float
    """Of its tokens, as last heard; 0 before it trains."""
    since: float
    """Seconds since it was last heard of, or since it was started."""
    pace: Pace | None
    """Its own; None before anything of it has been measured."""


def measured_pace(last: Observation) -> Pace | None:
    """The pace of a cell, from its newest observation; None where it has trained no token."""
    if last.baseline_tokens <= 0:
        return None
    training = sum(last.seconds.get(phase, 0.0) for phase in _PHASES_PER_TOKEN)
    return Pace(
        fixed=sum(last.seconds.values()) - training,
        per_token=training / last.baseline_tokens,
        tokens=last.baseline_tokens,
    )


def pooled(paces: Sequence[Pace]) -> Pace | None:
    """The mean cell: the fixed time by cells, the time per token by tokens; None without any."""
    if not paces:
        return None
    tokens = sum(pace.tokens for pace in paces)
    return Pace(
        fixed=sum(pace.fixed for pace in paces) / len(paces),
        per_token=sum(pace.per_token * pace.tokens for pace in paces) / tokens,
        tokens=tokens,
    )


def expected_end(share: float, ended: Sequence[float]) -> float:
    """The share of its tokens at which a cell that has trained `share` of them will end.

    The mean over the cells that ended further on (`ended`: shares, 1 where finished) and one
    imagined cell that runs to the end, so that the first stop does not speak for all the rest.
    """
    further = [end for end in ended if end > share]
    return (sum(further) + 1.0) / (len(further) + 1)


def cell_seconds_left(cell: Running, *, tokens: int, pace: Pace | None, end: float = 1.0) -> float:
    """Seconds until a running cell has trained the share `end` of its `tokens`; never negative.

    `pace` is the pooled one, for a cell that has none of its own yet; one of the two is needed.
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

    tokens: of a cell that runs to its end, in the baseline's tokens.
    slots: cells at once; at least as many as are running.
    waiting: the share of its tokens that each waiting cell has behind it (0 where it is new).
    ended: the share at which each cell that is over ended.
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
