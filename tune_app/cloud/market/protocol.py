"""What a market of rented machines must be able to do. A second market is one more folder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from tune_app.cloud.market.instance_request import InstanceRequest
from tune_app.cloud.market.records import Charge, Instance, Offer
from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.market.site import MarketSite


class Market(Protocol):
    """A client of one market's API, for one account. Thread-safe.

    Every method raises `tune_app.cloud.errors.CloudError` where the market refuses or cannot be
    reached; an answer that makes no sense never counts as "nothing there".
    """

    @property
    def site(self) -> MarketSite:
        """Its name and its pages, for messages."""

    def offers(self, rules: OfferRules, *, caps: bool = True) -> Sequence[Offer]:
        """Interruptible offers of the wanted GPUs.

        Args:
            caps: whether the search may leave out what the rules would refuse; without, an answer
                shows which cap refuses what.
        """

    def create(self, request: InstanceRequest, *, turn_within_s: float | None = None) -> int:
        """Rents and returns the contract's number. Sent once, never again.

        Args:
            turn_within_s: RateLimitedError if the rate limit would hold it up for longer.

        The error's `contract` has to be destroyed where there is one; where `may_have_happened`,
        the instance has to be looked for by its label.
        """

    def instances(self, *, labelled: str = "", known: Collection[int] = ()) -> Sequence[Instance]:
        """Every instance whose label begins so. Raises rather than leaving one out.

        Args:
            known: contracts that belong to them, whatever their label says now.
        """

    def instance(self, contract: int) -> Instance | None:
        """One instance, or None if it certainly does not exist."""

    def destroy(self, contract: int) -> None:
        """Destroys an instance and ends its billing. One that is gone already is not an error."""

    def charges(self, since: float, until: float) -> Sequence[Charge]:
        """What each contract cost between two times, in seconds since 1970; whole days.

        Raises MissingScopeError if the key may not ask, and rather than leaving a part out.
        """

    def credit(self) -> float:
        """Dollars left in the account."""

    def close(self) -> None:
        """Ends the connections."""
