"""A market in memory that bills by a clock, can be down, and can be silent about charges."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.renting.instances import running
from tune_app.cloud.errors import CloudError, NoAnswerError, UnreachableError
from tune_app.cloud.market.instance_request import InstanceRequest
from tune_app.cloud.market.records import Charge, Instance, Offer
from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.market.site import MarketSite


class MeteredMarket:
    """Any number of machines at one price.

    Args:
        price: the lowest bid, in $/h.
        credit: dollars at the beginning.
    """

    site = MarketSite(
        name="Metered",
        instances="https://metered.example/rented",
        keys="https://metered.example/keys",
        charges_scope="see_charges",
    )

    def __init__(self, clock: Clock, *, price: float, credit: float = 200.0) -> None:
        self._clock = clock
        self._price = price
        self._paid = credit
        self._next = 1_000
        self.rented: dict[int, Instance] = {}
        self.billed: dict[int, float] = {}
        self.labels: dict[int, str] = {}
        self.created_at: list[float] = []
        self.down_until = self.silent_until = float("-inf")
        self.fails: CloudError | None = None
        self.create_answers = True
        self._metered_to = clock.now

    def meter(self, labelled: str = "") -> float:
        """Bills until now. Returns all dollars so far for labels that begin so."""
        hours = (self._clock.now - self._metered_to) / 3600
        self._metered_to = self._clock.now
        for contract, instance in self.rented.items():
            self.billed[contract] += hours * instance.dollars_per_hour
        return sum(
            dollars
            for contract, dollars in self.billed.items()
            if self.labels[contract].startswith(labelled)
        )

    def _reached(self) -> None:
        self.meter()
        if self.fails is not None:
            raise self.fails
        if self._clock.now < self.down_until:
            raise UnreachableError("the market is down")

    def offers(self, rules: OfferRules, *, caps: bool = True) -> Sequence[Offer]:
        self._reached()
        self._next += 1
        return [
            Offer(
                id=self._next,
                machine_id=self._next,
                gpu_name=rules.gpus[0],
                num_gpus=1,
                gpu_ram_gb=24.0,
                cpus=8.0,
                ram_gb=64.0,
                disk_gb=500.0,
                minimum_bid=self._price,
                storage_per_gb_month=0.0,
                upload_per_gb=0.0,
                download_per_gb=0.0,
                download_mbps=1_000.0,
                reliability=0.999,
                cuda=13.0,
                hours_left=1_000.0,
            )
        ]

    def create(self, request: InstanceRequest, *, turn_within_s: float | None = None) -> int:
        self._reached()
        self.created_at.append(self._clock.now)
        contract = request.offer_id
        self.labels[contract] = request.label
        self.billed[contract] = 0.0
        if not self.create_answers:
            raise NoAnswerError("no answer to the request")
        self.rented[contract] = running(
            id=contract,
            machine_id=contract,
            label=request.label,
            dollars_per_hour=request.bid,
            gpu_name="RTX 3090",
            disk_gb=request.disk_gb,
        )
        return contract

    def instances(self, *, labelled: str = "", known: Collection[int] = ()) -> Sequence[Instance]:
        self._reached()
        return [one for one in self.rented.values() if one.label.startswith(labelled)]

    def instance(self, contract: int) -> Instance | None:
        self._reached()
        return self.rented.get(contract)

    def destroy(self, contract: int) -> None:
        self._reached()
        self._clock.now += 3.0  # the rate limit
        self.meter()
        self.rented.pop(contract, None)

    def charges(self, since: float, until: float) -> Sequence[Charge]:
        self._reached()
        if self._clock.now < self.silent_until:
            raise NoAnswerError("no answer about charges")
        return [
            Charge(contract=contract, dollars=dollars, parts={}, label=self.labels[contract])
            for contract, dollars in self.billed.items()
        ]

    def credit(self) -> float:
        return self._paid - self.meter()

    def relabel(self, contract: int, label: str) -> None:
        """As a person may do in the market's console."""
        self.rented[contract] = replace(self.rented[contract], label=label)

    def close(self) -> None:
        """Nothing is open."""
