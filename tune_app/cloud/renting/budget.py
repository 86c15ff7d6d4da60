"""How close the spending is to the cap, and whether one more machine fits under it. Pure.

A cap holds only if there is money left to end everything: workers bill while their cells save,
while a killed daemon starts again, while the market's API is down, and until the last one is
destroyed. That money is reserved at all times, for the workers that are rented and for the one that
is about to be. Where it begins to be used, work is saved; where only enough to destroy is left,
everything is destroyed, saved or not.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Stage(enum.Enum):
    """What the budget still allows."""

    OPEN = "open"
    CLOSED = "closed"
    """No more launches; running workers continue."""
    DRAIN = "drain"
    """Work is saved now."""
    SPENT = "spent"
    """Everything is destroyed."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How long it takes to save all work and to end all workers, in seconds."""

    save_s: float
    """Until all cells are saved: the longest that was measured, or the setting."""
    destroy_s: float
    """For one worker after another; the market limits the rate of destructions."""
    unable_s: float
    """For how long nothing can be destroyed in the worst case: the daemon is killed and starts
    again, the API is down, the next step is still to come."""
    save_dollars: float
    """For the traffic of one worker's checkpoints."""

    def destroy_dollars(self, *, per_hour: float, workers: int) -> float:
        """To destroy all workers, from the worst moment on."""
        return per_hour * (self.unable_s + workers * self.destroy_s) / 3600 if workers else 0.0

    def drain_dollars(self, *, per_hour: float, workers: int) -> float:
        """To save all work first, and then to destroy all workers."""
        saving = per_hour * self.save_s / 3600 + workers * self.save_dollars
        return saving + self.destroy_dollars(per_hour=per_hour, workers=workers)


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What was spent, by three counts in dollars. The greatest holds."""

    ledger: float
    """By the second, at the prices that were listed, with the expected traffic."""
    charges: float = 0.0
    """What the market charged; late."""
    credit: float = 0.0
    """By how much the account's credit fell, without what others in the account were charged."""

    @property
    def dollars(self) -> float:
        return max(self.ledger, self.charges, self.credit)

    @property
    def by(self) -> str:
        """Whose count holds: ledger, charges or credit."""
        counts = {"ledger": self.ledger, "charges": self.charges, "credit": self.credit}
        return max(counts, key=lambda name: counts[name])


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Dollars, and dollars an hour."""

    cap: float
    spending: Spent
    per_hour: float
    """Of all machines rented or requested now."""
    workers: int
    """How many those are."""
    ending: Ending
    reserve_hours: float
    """A launch must leave money for this many hours of all workers."""
    liabilities: float = 0.0
    """For what is under way and not in the count yet: the set-up of pending requests."""
    waiting: str = field(default="")
    """Why nothing may be rented whatever is left: old billing data, a drain; empty for nothing."""

    @property
    def spent(self) -> float:
        return self.spending.dollars + self.liabilities

    @property
    def left(self) -> float:
        return self.cap - self.spent

    @property
    def drain_reserve(self) -> float:
        return self.ending.drain_dollars(per_hour=self.per_hour, workers=self.workers)

    @property
    def destroy_reserve(self) -> float:
        return self.ending.destroy_dollars(per_hour=self.per_hour, workers=self.workers)

    @property
    def stage(self) -> Stage:
        if self.left <= self.destroy_reserve:
            return Stage.SPENT
        if self.left <= self.drain_reserve:
            return Stage.DRAIN
        if self.waiting or self.left <= self.per_hour * self.reserve_hours + self.drain_reserve:
            return Stage.CLOSED
        return Stage.OPEN

    @property
    def why(self) -> str:
        """Why workers are ended at this stage; for the log, the user and the driver."""
        return (
            f"${self.spent:.2f} of the cap of ${self.cap:.2f} is spent (by the {self.spending.by}),"
            f" and to save and end {self.workers} workers at ${self.per_hour:.3f}/h up to "
            f"${self.drain_reserve:.2f} more may be spent: to continue, raise cap_dollars and run "
            "ray up again"
        )

    def refusal(self, *, per_hour: float, setup: float) -> str | None:
        """Why one more machine at this price would exceed the cap, or None if it fits."""
        if self.waiting:
            return self.waiting
        total = self.per_hour + per_hour
        ending = self.ending.drain_dollars(per_hour=total, workers=self.workers + 1)
        needed = setup + total * self.reserve_hours + ending
        if needed <= self.left:
            return None
        return (
            f"${self.spent:.2f} of the cap of ${self.cap:.2f} is spent; one more worker at "
            f"${per_hour:.3f}/h beside ${self.per_hour:.3f}/h needs ${needed:.2f} for set-up, "
            f"the next {self.reserve_hours:g} h, and ${ending:.2f} to save and end all, and "
            f"${max(self.left, 0):.2f} is left: raise the cap, or wait for workers to end"
        )
