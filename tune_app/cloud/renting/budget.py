"""How close the spending is to the cap, and whether one more machine fits under it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.renting.settings import CloudSettings


class Stage(enum.Enum):
    """What the budget still allows."""

    OPEN = "open"
    CLOSED = "closed"
    """No more launches; running workers continue."""
    DRAIN = "drain"
    """Work should be saved now."""
    SPENT = "spent"
    """Everything is destroyed."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Dollars, and dollars an hour."""

    cap: float
    spent: float
    per_hour: float
    """Of all machines rented now."""
    reserve_hours: float
    drain_hours: float

    @property
    def left(self) -> float:
        return self.cap - self.spent

    @property
    def stage(self) -> Stage:
        if self.left <= 0:
            return Stage.SPENT
        if self.left <= self.per_hour * self.drain_hours:
            return Stage.DRAIN
        if self.left <= self.per_hour * self.reserve_hours:
            return Stage.CLOSED
        return Stage.OPEN

    def refusal(self, *, per_hour: float, setup: float) -> str | None:
        """Why one more machine at this price would exceed the cap, or None if it fits."""
        needed = (self.per_hour + per_hour) * self.reserve_hours + setup
        if needed <= self.left:
            return None
        return (
            f"${self.spent:.2f} of the cap of ${self.cap:.2f} is spent; one more worker at "
            f"${per_hour:.3f}/h beside ${self.per_hour:.3f}/h needs ${needed:.2f} for set-up and "
            f"the next {self.reserve_hours:g} h, and ${max(self.left, 0):.2f} is left: raise the "
            "cap, or wait for workers to end"
        )


def budget_of(ledger: Ledger, settings: CloudSettings, now: float) -> Budget:
    """The budget now. Pending requests count as rented, time since the last list as running."""
    live, under_way = ledger.live(), ledger.in_flight()
    unseen = sum(max(now - rental.counted_to, 0.0) / 3600 * rental.per_hour for rental in live)
    return Budget(
        cap=settings.cap_dollars,
        spent=ledger.spent() + unseen + sum(attempt.setup for attempt in under_way),
        per_hour=sum(rental.per_hour for rental in live)
        + sum(
            attempt.bid + attempt.storage_per_hour + attempt.bandwidth_per_hour
            for attempt in under_way
        ),
        reserve_hours=settings.reserve_hours,
        drain_hours=settings.drain_hours,
    )
