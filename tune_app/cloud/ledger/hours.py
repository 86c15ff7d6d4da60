"""What a rented machine cost between two lists of all machines. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tune_app.cloud.ledger.records import Rental
from tune_app.cloud.ledger.states import GPU_NOT_BILLED

UNSEEN_HOURS = 2 / 60
"""Less than this is the time that a request takes."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What comes to a rental's sums."""

    to: float
    """Until when it is counted now, in seconds since 1970."""
    hours: float
    gpu_hours: float
    """In which its container ran."""
    dollars: float


def counted(known: Rental, now: float, *, also: str, started: float | None = None) -> Counted:
    """What comes to a rental's hours and dollars until now.

    Time between two lists counts as running, or as billed, if that is so of either's status.

    Args:
        known: the rental, with the status in the last list.
        now: seconds since 1970.
        also: the status in this list.
        started: since when it exists by the market's own clock; None if that is unknown.
    """
    hours = max(0.0, now - known.counted_to) / 3600
    if started is not None:
        # What was counted by a clock that was wrong, or not at all.
        unseen = (now - started) / 3600 - known.hours - hours
        hours += unseen if unseen > UNSEEN_HOURS else 0.0
    running = hours if "running" in (known.status, also) else 0.0
    billed = 0.0 if {known.status, also} <= GPU_NOT_BILLED else hours
    existing = 0.0 if known.status == also == "offline" else hours
    return Counted(
        to=max(now, known.counted_to) if started is None else now,
        hours=hours,
        gpu_hours=running,
        dollars=billed * known.gpu_per_hour
        + running * known.bandwidth_per_hour
        + existing * known.storage_per_hour,
    )
