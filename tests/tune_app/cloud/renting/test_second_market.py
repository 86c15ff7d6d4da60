"""Renting at a market that is not Vast.ai: it needs the protocol alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune_app.cloud.autoscaling.ray_autoscaler import yaml_config
from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.renting.instances import running
from tune_app.cloud import open_market as open_market_module
from tune_app.cloud.cluster_yaml.settings import check_config, read_settings
from tune_app.cloud.errors import MissingScopeError, NoOfferError, NoSuchOfferError
from tune_app.cloud.head.bring_up import bring_up
from tune_app.cloud.head.shell import HeadShell
from tune_app.cloud.head_machine.choose import head_of
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.market.instance_request import InstanceRequest
from tune_app.cloud.market.protocol import Market
from tune_app.cloud.market.records import Charge, Instance, Offer
from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.market.site import MarketSite
from tune_app.cloud.open_market import (
    MARKETS,
    MarketKind,
    how_an_instance_ends,
    key_of,
    open_market,
    site_of,
)
from tune_app.cloud.renting.rented_machines import Rentals
from tune_app.cloud.renting.settings import CloudSettings, NodeType
from tune_app.cloud.secrets.account_key import KeyPlaces

OFFER = Offer(
    id=1,
    machine_id=11,
    gpu_name="RTX 4090",
    num_gpus=1,
    gpu_ram_gb=24.0,
    cpus=8.0,
    ram_gb=32.0,
    disk_gb=100.0,
    minimum_bid=0.2,
    storage_per_gb_month=0.1,
    upload_per_gb=0.0,
    download_per_gb=0.0,
    download_mbps=1_000.0,
    reliability=0.99,
    cuda=13.0,
    hours_left=100.0,
)


MEMORY = MarketSite(
    name="Memory",
    instances="https://memory.example/rented",
    keys="https://memory.example/keys",
    charges_scope="see_charges",
)


class MemoryMarket:
    """Two machines, without any network."""

    site = MEMORY

    def __init__(self) -> None:
        self.listed = [OFFER, replace(OFFER, id=2, machine_id=12, minimum_bid=0.1)]
        self.rented: dict[int, Instance] = {}
        self.requests: list[InstanceRequest] = []

    def offers(self, rules: OfferRules, *, caps: bool = True) -> Sequence[Offer]:
        cap = rules.max_dollars_per_hour
        return [one for one in self.listed if not caps or one.minimum_bid <= cap]

    def create(self, request: InstanceRequest, *, turn_within_s: float | None = None) -> int:
        if self.rented:
            raise NoSuchOfferError("somebody was faster")
        self.requests.append(request)
        self.rented[7] = running(
            id=7,
            machine_id=12,
            label=request.label,
            dollars_per_hour=request.bid,
            disk_gb=request.disk_gb,
            storage_per_gb_month=0.1,
        )
        return 7

    def instances(self, *, labelled: str = "", known: Collection[int] = ()) -> Sequence[Instance]:
        return [one for one in self.rented.values() if one.label.startswith(labelled)]

    def instance(self, contract: int) -> Instance | None:
        return self.rented.get(contract)

    def destroy(self, contract: int) -> None:
        self.rented.pop(contract, None)

    def charges(self, since: float, until: float) -> Sequence[Charge]:
        return [Charge(contract=7, dollars=3.0, parts={"gpu": 3.0})]

    def credit(self) -> float:
        return 100.0

    def close(self) -> None:
        self.rented.clear()


@pytest.fixture
def rentals(tmp_path: Path) -> Iterator[tuple[Rentals, MemoryMarket, Clock]]:
    clock, memory = Clock(), MemoryMarket()
    settings = CloudSettings(
        cluster="mine",
        node_types={"worker": NodeType(image="cuda", onstart="echo up", env={"A": "b"})},
        cap_dollars=10.0,
    )
    market: Market = memory
    with Ledger.open(
        tmp_path / "ledger.sqlite3", cluster="mine", slots=range(2, 20), clock=clock
    ) as ledger:
        yield (
            Rentals(settings, market, ledger, clock=clock, sleep=clock.sleep),
            memory,
            clock,
        )


def test_the_cheaper_machine_is_rented_watched_charged_and_destroyed(
    rentals: tuple[Rentals, MemoryMarket, Clock],
) -> None:
    renting, market, clock = rentals
    node = renting.create("worker", "a")
    (request,) = market.requests
    assert request.offer_id == 2
    assert request.start.onstart == "echo up"
    assert request.start.env == {"A": "b", "STELLUX_K": "2", "STELLUX_LABEL": request.label}
    clock.now += 3_600.0
    renting.money.drains.asked()
    renting.step()
    assert [item.status for item in renting.nodes()] == ["running"]
    assert renting.budget().spent == pytest.approx(3.0)  # the market's own figure
    assert renting.destroy(node.contract, "asked for")
    assert market.rented == {}


def test_a_key_that_may_not_see_the_charges_is_told_what_it_needs_there(
    rentals: tuple[Rentals, MemoryMarket, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    renting, market, _ = rentals

    def refuse(since: float, until: float) -> Sequence[Charge]:
        raise MissingScopeError("no")

    monkeypatch.setattr(market, "charges", refuse)
    renting.money.billing.update()
    assert renting.money.billing.trouble.endswith(
        "the charges need the permission see_charges, without which the cap would be an estimate: "
        "make a key that has it on https://memory.example/keys"
    )


def test_what_its_caps_refuse_is_named(rentals: tuple[Rentals, MemoryMarket, Clock]) -> None:
    renting, market, _ = rentals
    market.listed = [replace(OFFER, minimum_bid=0.5)]
    with pytest.raises(NoOfferError, match=r"raise max_dollars_per_hour to 0\.5"):
        renting.create("worker", "a")


def test_a_market_without_offers_is_named(rentals: tuple[Rentals, MemoryMarket, Clock]) -> None:
    renting, market, _ = rentals
    market.listed = []
    with pytest.raises(NoOfferError, match="Memory has no interruptible offer of RTX 3090"):
        renting.create("worker", "a")


def test_a_cluster_names_its_market_and_what_it_may_rent_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    memory = MemoryMarket()
    places = KeyPlaces(
        market="Memory", variable="MEMORY_KEY", files=(".memory/key",), made="make one in memory"
    )
    kind = MarketKind(
        open=lambda *_: memory, ending=lambda _: "destroy() { :; }", key=places, site=MEMORY
    )
    config = yaml_config(market="memory")
    config["provider"]["memory"] = config["provider"].pop("vast")
    with pytest.raises(ValueError, match=r"provider\.market is 'memory'; it can be vast"):
        check_config(config)
    monkeypatch.setattr(open_market_module, "MARKETS", {**MARKETS, "memory": kind})
    rented = check_config(config).rented
    assert rented is not None
    assert how_an_instance_ends(rented.access) == "destroy() { :; }"
    vast = {"VAST_API_KEY": "of-another-account"}
    remedy = "set MEMORY_KEY, or write it into ~/.memory/key; make one in memory"
    with pytest.raises(ValueError, match=f"^no Memory key: {remedy}$"):
        key_of(rented.access, vast, tmp_path)
    with pytest.raises(ValueError, match=r"^MEMORY_KEY: the Memory key has 9 characters"):
        key_of(rented.access, {"MEMORY_KEY": "two words"}, tmp_path)
    key = key_of(rented.access, {**vast, "MEMORY_KEY": "its-own"}, tmp_path)
    assert key.reveal() == "its-own"
    said: list[str] = []
    with pytest.raises(ValueError, match="no Memory key"):
        shell = HeadShell(address="192.0.2.1", user="root")
        bring_up(config, shell, say=said.append, environment=vast, home=tmp_path)
    assert said == [], "the head was not spoken to"
    with open_market(rented.access, key) as market:
        assert market.site is site_of(rented.access) is MEMORY
    head_of(read_settings(config["provider"], "mine")).leave(OSError("no route"), said.append)
    assert "its copy of the Memory key" in said[0]
    assert said[0].endswith("make the key invalid on https://memory.example/keys")
    config["provider"]["vast"] = {}
    with pytest.raises(ValueError, match="unknown setting 'vast' in provider"):
        check_config(config)
