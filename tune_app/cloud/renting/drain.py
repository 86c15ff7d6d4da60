"""When all work is saved and all workers are ended, and in which order. Pure, with reasons.

saving → ending → ended → over. A drain begins at the cap, or where nobody has asked for the list of
workers for so long that nobody can be there to end idle ones. It waits for the drivers' word, but
never past its deadline, nor past the money that the destruction needs. It is over when its cause
is: the cap was raised, or somebody asks again.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from tune_app.cloud.renting.budget import Budget, Stage


class Cause(enum.Enum):
    """Why a drain began."""

    CAP = "cap"
    UNASKED = "unasked"
    """Nobody asked for the list of workers: Ray is gone, or hangs."""


class Phase(enum.Enum):
    """How far a drain is."""

    SAVING = "saving"
    """Drivers save; workers still run."""
    ENDING = "ending"
    """Workers are being destroyed."""
    ENDED = "ended"
    """The market's list of this cluster's instances was seen empty since."""


@dataclass(frozen=True, kw_only=True)
class Drain:
    """One drain. Times in seconds since 1970."""

    number: int
    """0 until the ledger has given it one."""
    cause: Cause
    reason: str
    since: float
    deadline: float
    cap: float
    """In dollars, when it began: a higher one ends the drain."""
    workers: int
    """How many there were when it began."""
    phase: Phase = Phase.SAVING
    saved: bool = False
    """Whether every driver said that its work is saved."""
    ending_since: float | None = None
    ended_at: float | None = None
    over: bool = False


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a decision is made of."""

    now: float
    budget: Budget
    unasked_s: float
    """Since somebody last asked for the list of workers."""
    drivers: int
    """Which asked for drains within the last minute."""
    saved: bool
    """Whether all of these said that their work is saved."""
    drivers_unknown: bool
    """The daemon started so lately that a driver may not have asked yet."""
    empty: bool
    """Whether the last list showed no instance, and no request is pending."""


def next_drain(drain: Drain | None, seen: Seen, *, unasked_limit_s: float) -> Drain | None:
    """The drain as it is now; None while there is none.

    Args:
        drain: as it was; one that is over counts as none.
        unasked_limit_s: how long nobody may ask for the list of workers.
    """
    if drain is None or drain.over:
        return _begun(seen, unasked_limit_s)
    if drain.phase is Phase.SAVING:
        return _saving(drain, seen, unasked_limit_s)
    if drain.phase is Phase.ENDING and seen.empty:
        drain = replace(drain, phase=Phase.ENDED, ended_at=seen.now)
    if drain.phase is Phase.ENDED and _cause_gone(drain, seen, unasked_limit_s):
        return replace(drain, over=True)
    return drain


def _begun(seen: Seen, unasked_limit_s: float) -> Drain | None:
    budget = seen.budget
    if not budget.workers:
        return None
    new = Drain(
        number=0,
        cause=Cause.CAP,
        reason=budget.why,
        since=seen.now,
        deadline=seen.now + budget.ending.save_s,
        cap=budget.cap,
        workers=budget.workers,
    )
    if budget.stage in {Stage.DRAIN, Stage.SPENT}:
        return _saving(new, seen, unasked_limit_s)
    if seen.unasked_s >= unasked_limit_s:
        reason = (
            f"nobody asked for the list of workers for {seen.unasked_s / 60:.0f} minutes: Ray's "
            "autoscaler is gone or hangs, and would not end idle workers; see systemctl status "
            "stellux-head"
        )
        return _saving(replace(new, cause=Cause.UNASKED, reason=reason), seen, unasked_limit_s)
    return None


def _saving(drain: Drain, seen: Seen, unasked_limit_s: float) -> Drain:
    if _cause_gone(drain, seen, unasked_limit_s):
        return replace(drain, over=True)
    nobody = seen.drivers == 0 and not seen.drivers_unknown
    spent = seen.budget.stage is Stage.SPENT
    if seen.saved or nobody or spent or seen.now >= drain.deadline:
        return replace(drain, phase=Phase.ENDING, saved=seen.saved, ending_since=seen.now)
    return drain


def _cause_gone(drain: Drain, seen: Seen, unasked_limit_s: float) -> bool:
    if drain.cause is Cause.UNASKED:
        return seen.unasked_s < unasked_limit_s
    # Not by the stage alone: with its workers ended a drain's reserve is free again, and the cap
    # would be approached once more with one worker fewer each time.
    return seen.budget.cap > drain.cap and seen.budget.stage in {Stage.OPEN, Stage.CLOSED}


def seconds_left(drain: Drain, now: float) -> float:
    """Until workers are destroyed, saved or not."""
    return max(drain.deadline - now, 0.0) if drain.phase is Phase.SAVING else 0.0
