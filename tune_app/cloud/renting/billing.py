"""Asks the market what was charged and what credit is left, and says how old that is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from tune_app.cloud.errors import CloudError, MissingScopeError, WrongKeyError
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.ledger.records import SETTLED_S
from tune_app.cloud.market.labels import prefix
from tune_app.cloud.market.protocol import Market
from tune_app.cloud.market.records import Charge
from tune_app.cloud.market.site import MarketSite
from tune_app.cloud.renting.budget import Spent
from tune_app.cloud.renting.settings import CloudSettings

DAY_S = 86_400.0
EARLIER_DAYS = 365
"""How far back charges are asked for that a ledger does not know: it is new, or the last was lost.
"""

logger = logging.getLogger(__name__)


class Billing:
    """What the market says of the account's spending. Thread-safe."""

    def __init__(
        self,
        settings: CloudSettings,
        market: Market,
        ledger: Ledger,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._patience = settings.patience
        self._market = market
        self._ledger = ledger
        self._clock = clock
        self._asking = threading.Lock()
        self._asked_at = float("-inf")
        self._known_at = float("-inf")
        self._trouble = ""

    def update(self) -> None:
        """Asks, if the last answer is old enough. Never raises for the market's failures."""
        with self._asking:
            now = self._clock()
            wait = self._patience.charges_retry if self._trouble else self._patience.charges
            if now - self._asked_at < wait:
                return
            self._asked_at = now
            try:
                self._ask(now)
            except CloudError as error:
                self._trouble = _explained(error, self._market.site)
                logger.warning("the charges are not known: %s", self._trouble)
            else:
                self._trouble, self._known_at = "", now

    def ensure(self) -> None:
        """Asks if there is no answer that launches may rely on."""
        if self.refusal():
            self.update()

    @property
    def trouble(self) -> str:
        """Why the last question had no answer; empty if it had one."""
        return self._trouble

    def age_s(self) -> float:
        """Of the last answer; infinite before the first."""
        return self._clock() - self._known_at

    def refusal(self) -> str:
        """Why nothing may be rented with billing data this old; empty if it may."""
        lost = self._ledger.lost()
        if lost:
            return f"what was spent before is not known: {lost}"
        age = self.age_s()
        if age <= self._patience.charges_stale:
            return ""
        since = "ever" if age == float("inf") else f"for {age / 60:.0f} minutes"
        why = f" ({self._trouble})" if self._trouble else ""
        return (
            f"the market has not said {since} what was charged{why}: nothing is rented on billing "
            f"data older than {self._patience.charges_stale / 60:.0f} minutes"
        )

    def spent(self) -> Spent:
        """By all counts, until now."""
        now = self._clock()
        unseen = sum(
            max(now - rental.counted_to, 0.0) / 3600 * rental.per_hour
            for rental in self._ledger.live()
        )
        credit = self._ledger.credit() if self._settings.credit_counts else None
        return Spent(
            ledger=self._ledger.spent() + unseen,
            charges=sum(rental.charged or 0.0 for rental in self._ledger.rentals()),
            credit=0.0 if credit is None else credit.spent,
        )

    def _ask(self, now: float) -> None:
        lost, rentals = self._ledger.lost(), self._ledger.rentals()
        known = self._ledger.credit()
        since = min(
            [rental.since for rental in rentals] + ([now] if known is None else [known.since])
        )
        # A new head's ledger knows nothing of what the cluster spent on an earlier one.
        incomplete = bool(lost) or not rentals
        if incomplete or any(rental.by_charges_alone for rental in rentals):
            # Later, too: only all rows of an instance together are what it cost.
            since = min(since, now - EARLIER_DAYS * DAY_S)
        charges = self._market.charges(since, now)
        own = [charge for charge in charges if self._is_own(charge)]
        if incomplete:
            dollars = self._ledger.restore(own)
            if lost or dollars:
                logger.warning("restored $%.2f of spending from the charges by label", dollars)
        self._ledger.reconcile([*own, *self._without_a_row(own, now)])
        others: Sequence[Charge] = [charge for charge in charges if not self._is_own(charge)]
        try:
            credit = self._market.credit()
        except MissingScopeError as error:
            # A key may see the charges and not the account; the two other counts hold then.
            logger.info("the account's credit is not known: %s", error)
            return
        except WrongKeyError:
            raise
        except CloudError as error:
            logger.warning("the account's credit is not known: %s", error)
            return
        self._ledger.saw_credit(credit, others=sum(charge.dollars for charge in others))

    def _without_a_row(self, own: Sequence[Charge], now: float) -> list[Charge]:
        """Nothing, for instances that cost nothing: destroyed at once, they get no row.

        Only where the account has rows of this cluster's: another account has none of any.
        """
        told = {charge.contract for charge in own}
        return [
            Charge(contract=rental.contract, dollars=0.0, parts={})
            for rental in (self._ledger.rentals() if own else [])
            if rental.charged is None
            and rental.contract not in told
            and rental.ended_at is not None
            and now - rental.ended_at > SETTLED_S
        ]

    def _is_own(self, charge: Charge) -> bool:
        known = self._ledger.rental(charge.contract) is not None
        return known or charge.label.startswith(prefix(self._settings.cluster))


def charges_need(site: MarketSite) -> str:
    """What a key lacks that may not see the charges, and the remedy."""
    return (
        f"the charges need the permission {site.charges_scope}, without which the cap would be an "
        f"estimate: make a key that has it on {site.keys}"
    )


def _explained(error: CloudError, site: MarketSite) -> str:
    return f"{error}; {charges_need(site)}" if isinstance(error, WrongKeyError) else str(error)
