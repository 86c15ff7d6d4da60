"""The cap: what is spent, what may still be rented, and when everything ends.

Puts together what the ledger counts, what the market says (`billing`), how close that is to the cap
(`budget`), and the drain that follows (`drain`, `drains`).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.market.protocol import Market
from tune_app.cloud.market.records import Quote
from tune_app.cloud.renting.billing import Billing
from tune_app.cloud.renting.budget import Budget, Ending
from tune_app.cloud.renting.drain import Phase
from tune_app.cloud.renting.drains import Drains
from tune_app.cloud.renting.settings import CloudSettings

LONGEST_DESTROY_S = 30.0
"""For one worker; what was measured over that was an outage, which has a reserve of its own."""

PRUNE_EVERY_S = 86_400.0


class Money:
    """The money of one cluster. Thread-safe."""

    def __init__(
        self,
        settings: CloudSettings,
        market: Market,
        ledger: Ledger,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        self._pruned_at = clock()
        self.billing = Billing(settings, market, ledger, clock=clock)
        self.drains = Drains(ledger, unasked_s=settings.patience.unasked, clock=clock)

    def update(self) -> None:
        """What is due after a step: billing data, and once a day the pruning of the ledger."""
        self.billing.update()
        now = self._clock()
        if now - self._pruned_at >= PRUNE_EVERY_S:
            self._ledger.prune(before=now - self._settings.patience.prune)
            self._pruned_at = now

    def budget(self) -> Budget:
        """The budget now. Pending requests count as rented, time since the last list as running."""
        live, under_way = self._ledger.standing()
        return Budget(
            cap=self._settings.cap_dollars,
            spending=self.billing.spent(),
            liabilities=sum(attempt.setup for attempt in under_way),
            per_hour=sum(rental.per_hour for rental in live)
            + sum(
                attempt.bid + attempt.storage_per_hour + attempt.bandwidth_per_hour
                for attempt in under_way
            ),
            workers=len(live) + len(under_way),
            ending=self._ending(),
            reserve_hours=self._settings.reserve_hours,
            waiting=self._waiting(),
        )

    def refusal(self, quote: Quote | None = None) -> str | None:
        """Why nothing may be rented now, or not this; None if it may.

        Args:
            quote: of one more worker; None before one is chosen.
        """
        self.billing.ensure()
        if quote is None:
            return self._waiting() or None
        return self.budget().refusal(per_hour=quote.per_hour, setup=quote.setup)

    def end_reason(self, *, empty: bool) -> str:
        """Decides whether all workers are to be destroyed now, and why; empty if they are not.

        Args:
            empty: whether the last list showed no instance.
        """
        budget = self.budget()
        drain = self.drains.step(budget, empty=empty and not budget.workers)
        return drain.reason if drain is not None and drain.phase is not Phase.SAVING else ""

    def _waiting(self) -> str:
        drain = self.drains.current()
        if drain is not None:
            return f"the cluster drains: {drain.reason}"
        return self.billing.refusal()

    def _ending(self) -> Ending:
        told, patience = self._settings.ending, self._settings.patience
        saving = self._ledger.measured_saving_s()
        destroying = min(self._ledger.measured_destroy_s() or 0.0, LONGEST_DESTROY_S)
        dollars_per_gb = max(
            kind.rules.max_dollars_per_gb for kind in self._settings.node_types.values()
        )
        return Ending(
            save_s=told.save_s if saving is None else max(saving * told.margin, patience.poll),
            destroy_s=max(told.destroy_s, destroying),
            # A step is missed, one fails half-way after two time-outs, and the next one is late.
            unable_s=told.outage_s + told.restart_s + 2 * (patience.poll + patience.http),
            save_dollars=told.checkpoint_gb * dollars_per_gb,
        )
