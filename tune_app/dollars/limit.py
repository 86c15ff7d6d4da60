"""A sweep's own limit in dollars: whether it may start, and when it has to save. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

SAVING_S = 15.0
"""Seconds for which all machines are still paid while cells are saved."""


@dataclass(frozen=True, kw_only=True)
class Spending:
    """The dollars of a running sweep."""

    spent: float
    per_hour: float
    """Of what is paid for now, the head included."""
    limit: float | None = None
    """What the sweep may cost in all; None for no limit of its own."""
    head: float = 0.0
    """Of `spent`: for the cluster's head."""

    def in_all(self, seconds_left: float) -> float:
        """What it will have cost if it goes on like this for so long."""
        return self.spent + self.per_hour * seconds_left / 3_600


def over_limit(spending: Spending) -> str | None:
    """Why cells have to be saved and paused now; None if they may go on."""
    if spending.limit is None:
        return None
    reserve = spending.per_hour * SAVING_S / 3_600
    if spending.spent + reserve < spending.limit:
        return None
    return (
        f"{dollars(spending.spent)} of --max-dollars {spending.limit:g} is spent, at "
        f"{dollars(spending.per_hour)} an hour; raise --max-dollars to go on"
    )


def refuse_start(limit: float | None, *, spent: float, forecast: float | None, how: str) -> None:
    """Raises ValueError if a sweep would exceed its limit, or has reached it already.

    Args:
        limit: in dollars; None for none.
        spent: by earlier runs.
        forecast: what a sweep that has spent nothing will cost at most; None if it is unknown.
        how: where the forecast is from.
    """
    if limit is None:
        return
    if spent >= limit:
        raise ValueError(
            f"{dollars(spent)} is spent already, and --max-dollars is {limit:g}; raise it to go on"
        )
    if spent == 0 and forecast is not None and forecast > limit:
        raise ValueError(
            f"it may cost {dollars(forecast)} ({how}), over --max-dollars {limit:g}; raise "
            f"it to {_rounded_up(forecast):g}, or train fewer cells or tokens"
        )


def dollars(amount: float) -> str:
    """`$1.23`; small amounts with two digits that say something."""
    if amount == 0 or abs(amount) >= 0.1:
        return f"${amount:,.2f}"
    digits = 1 - math.floor(math.log10(abs(amount)))
    return f"${amount:.{min(digits, 8)}f}"


def _rounded_up(amount: float) -> float:
    """With two digits, so that it can be typed."""
    scale = 10.0 ** (1 - math.floor(math.log10(amount)))
    return float(math.ceil(amount * scale) / scale)
