"""Renting and returning against the API on loopback: faults of every kind, and what is left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.vast.fake_transport import FakeTransport
from tests.tune_app.cloud.vast.fake_vast import FakeInstance, FakeVast, Fault, offer
from tune_app.cloud.errors import (
    BackOffError,
    BudgetError,
    ClosedError,
    CloudError,
    FullError,
    InFlightError,
    NoOfferError,
    NoSuchOfferError,
    OddAnswerError,
    PriceError,
    RateLimitedError,
    UncertainError,
    UnknownInstanceError,
)
from tune_app.cloud.ledger.endings import returned, taken_away
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.market.instance_request import InstanceRequest, WorkerStart
from tune_app.cloud.market.labels import Label
from tune_app.cloud.renting.rented_machines import Rentals
from tune_app.cloud.renting.settings import CloudSettings, NodeType, Patience
from tune_app.cloud.renting.workers import Node, PlainSetup
from tune_app.cloud.secrets.key import ApiKey
from tune_app.cloud.vast.client import VastClient
from tune_app.cloud.vast.rate_limit import RateLimit

NO_CHARGES = {"success": True, "count": 0, "total": 0, "results": [], "next_token": None}


class Keys(PlainSetup):
    """A set-up that remembers which ks it handed something out for."""

    def __init__(self) -> None:
        self.held: list[int] = []

    def prepare(self, start: WorkerStart, label: Label) -> Any:
        self.held.append(label.k)
        return super().prepare(start, label)

    def revoke(self, k: int) -> None:
        if k in self.held:
            self.held.remove(k)


class House:
    """A cluster's rentals, its API, its clock; `restarted` is what a crash leaves."""

    def __init__(
        self,
        folder: Path,
        fake: FakeVast,
        clock: Clock,
        **settings: Any,
    ) -> None:
        self.folder, self.fake, self.clock = folder, fake, clock
        usual: dict[str, Any] = {
            "cluster": "mine",
            "node_types": {"worker": NodeType(image="cuda")},
            "cap_dollars": 50.0,
        }
        self.settings = CloudSettings(**(usual | settings))
        self.keys = Keys()
        self.links: dict[int, bool] = {}
        self.client = VastClient(
            ApiKey(fake.key),
            base_url=fake.url,
            rate_limit=RateLimit(clock=clock, sleep=clock.sleep),
            timeout_s=self.settings.patience.http,
            clock=clock,
            sleep=clock.sleep,
            transport=FakeTransport(fake, silence=lambda: clock.sleep(self.settings.patience.http)),
        )
        self.ledger = Ledger.open(
            folder / "ledger.sqlite3", cluster="mine", slots=range(2, 128), clock=clock
        )
        self.rentals = Rentals(
            self.settings,
            self.client,
            self.ledger,
            setup=self.keys,
            link_up=self.links.get,
            clock=clock,
            sleep=clock.sleep,
        )

    def create(self, request: str = "a") -> Node:
        return self.rentals.create("worker", request)

    def steps(self, seconds: float, *, each: float = 15.0, asked: bool = True) -> None:
        """What the daemon's loop does in this time, while an autoscaler asks for the list."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.clock.now += each
            if asked:
                self.rentals.money.drains.asked()
            self.rentals.step()

    def close(self) -> None:
        self.ledger.close()
        self.client.close()

    def restarted(self) -> House:
        self.close()
        return House(self.folder, self.fake, self.clock, patience=self.settings.patience)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fake(clock: Clock) -> Iterator[FakeVast]:
    offers = [offer(i, min_bid=0.20 + i / 1000) for i in range(1, 9)]
    with FakeVast(offers, clock=clock, limits=True) as server:
        yield server


@pytest.fixture
def build(tmp_path: Path, fake: FakeVast, clock: Clock) -> Iterator[Callable[..., House]]:
    made: list[House] = []

    def build(**settings: Any) -> House:
        made.append(House(tmp_path, fake, clock, **settings))
        return made[-1]

    yield build
    for house in made:
        house.close()


@pytest.fixture
def house(build: Callable[..., House]) -> House:
    return build()


def alive(fake: FakeVast) -> list[FakeInstance]:
    return fake.alive()


def test_rents_the_best_offer_under_a_label_of_its_own(house: House, fake: FakeVast) -> None:
    node = house.create()
    (instance,) = alive(fake)
    assert (node.contract, node.k, node.label) == (instance.id, 2, "stellux/mine/worker/2/a.1")
    assert instance.label == node.label
    assert instance.offer["id"] == 1
    assert instance.is_bid
    assert instance.order["env"]["STELLUX_K"] == "2"
    house.steps(15)
    (listed,) = house.rentals.nodes()
    assert listed.status == "running"
    assert listed.proxy_host


def test_the_same_request_never_rents_twice(house: House, fake: FakeVast) -> None:
    first = house.create("a")
    assert house.create("a").contract == first.contract
    assert fake.calls["create"] == 1
    second = house.create("b")
    assert (second.k, len(alive(fake))) == (3, 2)


@pytest.mark.parametrize("fault", [Fault.CREATED_THEN_500, Fault.CREATED_THEN_SILENCE])
def test_an_answer_that_is_lost_is_found_by_its_label(
    build: Callable[..., House], fake: FakeVast, fault: Fault
) -> None:
    house = build(patience=Patience(http=0.3))
    fake.fail("create", fault)
    node = house.create()
    assert [item.id for item in alive(fake)] == [node.contract]
    assert fake.calls["create"] == 1
    house.steps(60)
    assert len(house.rentals.nodes()) == 1


def test_without_an_answer_and_without_an_instance_it_is_given_up(
    house: House, fake: FakeVast
) -> None:
    fake.fail("create", Fault.REFUSED_500)
    started = house.clock.now
    with pytest.raises(UncertainError, match="looked for"):
        house.create()
    assert house.clock.now - started <= house.settings.patience.create
    with pytest.raises(InFlightError):
        house.create()
    house.steps(240)
    assert house.ledger.in_flight() == []
    assert house.keys.held == []
    assert house.create().label.endswith("/a.2")
    assert len(alive(fake)) == 1


def test_one_that_appears_after_it_was_given_up_is_destroyed(house: House, fake: FakeVast) -> None:
    fake.late_s = 300
    fake.fail("create", Fault.APPEARS_LATE)
    with pytest.raises(UncertainError):
        house.create()
    house.steps(240)
    assert len(alive(fake)) == 1
    house.steps(120)
    assert alive(fake) == []
    assert house.ledger.live() == []
    assert "no owner" in house.ledger.rentals()[0].ended_reason
    house.steps(900)
    assert house.ledger.spent() > 0, "by the charges alone"


def test_one_that_appears_while_it_is_looked_for_is_adopted(house: House, fake: FakeVast) -> None:
    fake.late_s = 60
    fake.fail("create", Fault.APPEARS_LATE)
    with pytest.raises(UncertainError):
        house.create()
    house.steps(75)
    (node,) = house.rentals.nodes()
    assert [item.id for item in alive(fake)] == [node.contract]
    assert house.create().contract == node.contract


def test_a_crash_before_the_answer_leaves_nothing_behind(
    house: House, fake: FakeVast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(order: InstanceRequest, **_: object) -> int:
        VastClient.create(house.client, order)
        raise KeyboardInterrupt  # the process ends inside the call

    monkeypatch.setattr(house.client, "create", crash)
    with pytest.raises(KeyboardInterrupt):
        house.create()
    after = house.restarted()
    with pytest.raises(InFlightError):
        after.create()
    after.steps(15)
    (node,) = after.rentals.nodes()
    assert after.create().contract == node.contract
    assert fake.calls["create"] == 1
    after.close()


def test_an_instance_created_in_spite_of_an_error_is_destroyed(
    house: House, fake: FakeVast, clock: Clock
) -> None:
    house.client.offers(house.settings.node_type("worker").rules)
    fake.offers[1]["min_bid"] = 0.5  # somebody else bid since the search
    with pytest.raises(PriceError):
        house.create()
    assert len(fake.instances) == 1
    assert alive(fake) == []
    assert house.keys.held == []
    clock.now += 60
    assert house.create().contract in fake.instances


def test_one_that_cannot_be_destroyed_now_is_destroyed_later(house: House, fake: FakeVast) -> None:
    node = house.create()
    fake.fail("destroy", *([Fault.REFUSED_500] * 4))
    assert not house.rentals.destroy(node.contract, "asked for")
    assert house.rentals.nodes() == []
    assert house.keys.held == [node.k], "its key is taken back when it is gone"
    house.steps(60)
    assert alive(fake) == []
    assert house.keys.held == []
    assert house.rentals.destroy(node.contract, "asked for")


def test_what_is_condemned_is_destroyed_even_while_no_list_comes(
    house: House, fake: FakeVast
) -> None:
    node = house.create("a")
    house.create("b")
    fake.fail("destroy", Fault.REFUSED_500, Fault.REFUSED_500)
    assert not house.rentals.destroy(node.contract, "asked for")
    fake.fail("list", Fault.HTML)
    with pytest.raises(CloudError):
        house.steps(15)
    assert [item.label for item in alive(fake)] == ["stellux/mine/worker/3/b.1"]


def test_an_offer_that_was_sold_twice_leads_to_the_next(house: House, fake: FakeVast) -> None:
    house.client.offers(house.settings.node_type("worker").rules)
    del fake.offers[1]
    assert house.create().label.endswith("/a.2")
    assert alive(fake)[0].offer["id"] == 2
    assert house.ledger.launch_failures("worker")[0] == 0


def test_offers_that_are_all_gone_end_with_an_error(house: House, fake: FakeVast) -> None:
    house.client.offers(house.settings.node_type("worker").rules)
    fake.offers.clear()
    with pytest.raises(NoSuchOfferError):
        house.create()
    assert fake.calls["create"] == 3
    assert house.ledger.in_flight() == []


@pytest.mark.parametrize("fault", [Fault.WRONG_PRICE, Fault.ON_DEMAND])
def test_what_was_not_asked_for_is_destroyed_and_its_machine_avoided(
    house: House, fake: FakeVast, fault: Fault
) -> None:
    fake.fail("create", fault)
    house.create()
    house.steps(15)
    assert alive(fake) == []
    assert list(house.ledger.avoided()) == [1_001]
    house.steps(30)
    assert house.create("b").machine == 1_002


def test_one_that_never_loads_is_destroyed_and_its_machine_avoided(
    house: House, fake: FakeVast
) -> None:
    fake.fail("create", Fault.NEVER_LOADS)
    house.create()
    house.steps(870)
    assert len(house.rentals.nodes()) == 1
    house.steps(60)
    assert alive(fake) == []
    assert "loading" in house.ledger.avoided()[1_001]
    assert house.ledger.launch_failures("worker")[0] == 1


def test_workers_whose_set_up_fails_are_rented_more_and_more_seldom(
    house: House, fake: FakeVast, clock: Clock
) -> None:
    machines, waits, ended = [], [], clock.now
    for number in range(4):
        while True:
            try:
                node = house.create(f"r{number}")
            except BackOffError as error:
                assert "its set-up failed" in str(error)
                clock.now += 1
            else:
                break
        waits.append(clock.now - ended)
        machines.append(node.machine)
        house.links[node.k] = True
        house.steps(300)
        assert house.rentals.destroy(node.contract, "its set-up failed", bad=True)
        ended = clock.now
    assert machines == [1_001, 1_002, 1_003, 1_004], "none is tried again"
    assert waits[0] == 0
    assert waits[3] >= 2 * waits[2] >= 4 * waits[1] >= 40
    clock.now += 100
    good = house.create("good")
    house.links[good.k] = True
    house.steps(house.settings.patience.proved + 30)
    assert house.ledger.launch_failures("worker")[0] == 0
    assert house.rentals.destroy(good.contract, "terminated by Ray")
    assert 1_005 not in house.ledger.avoided()


def test_links_that_open_on_no_machine_are_the_heads_firewalls_fault(
    house: House, fake: FakeVast, clock: Clock
) -> None:
    for request in "abc":
        clock.now += 900
        node = house.create(request)
        house.links[node.k] = False
        house.steps(1_000)
        assert alive(fake) == []
    with pytest.raises(BackOffError, match=r"on 2 machines in a row .* firewall of the head's"):
        house.create("d")
    clock.now += house.settings.patience.backoff_most
    assert sorted(house.ledger.avoided()) == [1_001], "the others are not to blame"
    node = house.create("d")
    house.links[node.k] = True
    house.steps(60)
    assert house.ledger.machines_never_linked() == 0
    house.links[node.k] = False
    house.steps(1_000)
    assert house.ledger.machines_never_linked() == 0, "its link was open once"


def test_an_outbid_one_is_destroyed(house: House, fake: FakeVast) -> None:
    node = house.create()
    house.steps(15)
    fake.outbid(node.contract)
    house.steps(15)
    assert alive(fake) == []
    assert house.rentals.nodes() == []
    assert "outbid" in house.ledger.rentals()[0].ended_reason
    assert house.keys.held == []
    assert list(house.ledger.avoided()) == [1_001], "for a while; it is not at fault"
    assert house.create("b").machine == 1_002
    house.clock.now += house.settings.patience.outbid
    assert house.ledger.avoided() == {}


def test_a_silent_one_is_given_up_after_two_minutes_unless_its_link_is_open(
    house: House, fake: FakeVast
) -> None:
    node = house.create()
    house.steps(15)
    house.links[node.k] = True
    fake.set_state(node.contract, "unknown")
    house.steps(300)
    assert len(house.rentals.nodes()) == 1
    house.links[node.k] = False
    house.steps(15)
    assert alive(fake) == []
    assert "unknown for" in house.ledger.avoided()[1_001]


def test_instances_of_others_are_left_alone(house: House, fake: FakeVast) -> None:
    for number, label in ((7, "by hand"), (8, "stellux/other/worker/2/a.1")):
        fake.answer(
            "PUT", f"/api/v0/asks/{number}/", {}, {"disk": 10, "price": 1, "label": label}, fake.key
        )
        house.clock.now += 10
    house.steps(60)
    assert len(alive(fake)) == 2
    with pytest.raises(UnknownInstanceError, match="does not belong to the cluster"):
        house.rentals.destroy(alive(fake)[0].id, "asked for")


@pytest.mark.parametrize(
    "fault",
    [
        Fault.REFUSED_500,
        Fault.HTML,
        Fault.CUT_OFF,
        Fault.NO_LIST,
        Fault.ODD_ITEM,
        Fault.UNSUCCESSFUL,
        Fault.CIRCLE,
    ],
)
def test_a_list_that_failed_or_is_odd_raises_and_changes_nothing(
    house: House, fake: FakeVast, fault: Fault
) -> None:
    house.create("a")
    house.create("b")
    house.steps(60)
    before = house.ledger.live()
    house.clock.now += 60
    for look in (house.rentals.nodes, house.rentals.step):
        fake.fail("list", fault, fault)
        with pytest.raises(CloudError):
            look()
        fake.mend()
    assert [item.contract for item in house.ledger.live()] == [item.contract for item in before]
    assert len(alive(fake)) == 2
    assert len(house.rentals.nodes()) == 2


@pytest.mark.parametrize("fault", [Fault.EMPTY, Fault.SHORT])
def test_what_a_list_lacks_is_asked_for_alone_and_the_others_are_looked_at(
    house: House, fake: FakeVast, fault: Fault
) -> None:
    outbid, last = house.create("a"), house.create("b")
    house.steps(60)
    fake.outbid(outbid.contract)
    fake.fail("list", fault)
    with pytest.raises(OddAnswerError, match="which exists"):
        house.steps(15)
    assert [item.id for item in alive(fake)] == [last.contract], "an outbid neighbour bills on"
    fake.fail("list", fault)
    house.clock.now += 60
    assert [node.contract for node in house.rentals.nodes()] == [last.contract]


def test_a_list_that_lacks_many_is_not_made_up_for(house: House, fake: FakeVast) -> None:
    for request in "abcdef":
        house.create(request)
    house.steps(60)
    fake.fail("list", Fault.EMPTY)
    house.clock.now += 60
    with pytest.raises(OddAnswerError, match="lacks 6"):
        house.rentals.nodes()
    assert fake.calls["show"] == 5
    assert len(house.ledger.live()) == 6


@pytest.mark.parametrize(
    "spoilt",
    [
        {"label": "changed in the console"},
        {"label": None},
        {"label": "stellux/other/worker/2/a.1"},
        {"dph_total": None},
        {"is_bid": None, "machine_id": "?"},
        {"start_date": "yesterday", "ports": 7, "cpu_cores_effective": None},
    ],
)
def test_one_odd_instance_blinds_nobody(
    house: House, fake: FakeVast, spoilt: dict[str, Any]
) -> None:
    odd, outbid = house.create("a"), house.create("b")
    house.steps(15)
    fake.instances[odd.contract].spoilt = spoilt
    fake.outbid(outbid.contract)
    house.steps(60)
    assert [item.id for item in alive(fake)] == [odd.contract]
    assert [node.contract for node in house.rentals.nodes()] == [odd.contract]
    assert house.rentals.budget().spent >= fake.billed()
    assert house.rentals.destroy(odd.contract, "asked for")
    assert alive(fake) == []


@pytest.mark.parametrize("name", ["dph_total", "is_bid"])
def test_what_nobody_knows_the_price_of_does_not_stay(
    house: House, fake: FakeVast, name: str
) -> None:
    fake.instances[house.create().contract].spoilt = {name: None}
    house.steps(870)
    assert len(alive(fake)) == 1
    house.steps(60)
    assert alive(fake) == []
    assert "is not told after" in house.ledger.rentals()[0].ended_reason


@pytest.mark.parametrize("shown", [True, False])
def test_a_platform_fee_is_counted_and_no_reason_to_destroy(
    house: House, fake: FakeVast, *, shown: bool
) -> None:
    fake.fee_per_hour, fake.fee_shown = 0.03, shown
    house.create()
    house.steps(7_200, each=120)
    assert len(alive(fake)) == 1
    assert house.rentals.budget().spent >= fake.billed()
    fake.fee_per_hour = 0.2
    fake.fee_shown = False
    house.steps(60)
    assert alive(fake) == [], "more than a fee"


def test_another_gpu_than_the_offer_s_is_destroyed(house: House, fake: FakeVast) -> None:
    fake.fail("create", Fault.WRONG_GPU)
    house.create()
    house.steps(15)
    assert alive(fake) == []
    assert "a RTX 3060 instead of the RTX 4090" in house.ledger.avoided()[1_001]


def test_a_loading_image_that_bills_the_gpu_is_counted(house: House, fake: FakeVast) -> None:
    fake.loading_bills, fake.load_s = True, 800.0
    house.create()
    house.steps(780)
    assert fake.billed() > 0.05
    assert house.rentals.budget().spent >= fake.billed()


def test_a_new_head_knows_what_the_cluster_has_spent(
    tmp_path: Path, fake: FakeVast, clock: Clock
) -> None:
    """One that was made was deleted with its ledger; the cap is for all of them."""
    first = House(tmp_path / "first", fake, clock)
    node = first.create()
    first.steps(3 * 86_400, each=3_600)
    first.rentals.destroy(node.contract, "ray down")
    first.close()
    billed = fake.billed()
    assert billed > 15.0
    second = House(tmp_path / "second", fake, clock, cap_dollars=billed + 1.0)
    second.steps(15)
    # For hours: the rows of its first days are asked for each time. By the ledger alone: the
    # credit, which it saw when it knew them all, would go on saying so.
    for _ in range(4):
        assert second.rentals.budget().spending.ledger == pytest.approx(billed)
        second.steps(3_600, each=900)
    second.create()
    second.steps(10 * 3_600, each=60)
    assert alive(fake) == []
    assert fake.billed() <= billed + 1.0, "by both"
    second.close()


def test_a_wrong_clock_of_the_head_loses_no_dollar(
    tmp_path: Path, fake: FakeVast, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger alone counts: nothing is charged yet, and the credit does not count."""
    monkeypatch.setattr(fake, "_charges", lambda _: (200, NO_CHARGES))
    wall = Clock(clock.now + 86_400)  # a day ahead at the rental, and corrected right after it
    house = House(tmp_path, fake, wall, patience=Patience(unasked=1e6), credit_counts=False)
    house.create()
    wall.now -= 86_400
    for _ in range(20 * 6):
        wall.now += 600.0
        clock.now += 600.0
        house.rentals.step()
    spending = house.rentals.budget().spending
    assert fake.billed() > 4.0
    assert (spending.charges, spending.credit) == (0.0, 0.0)
    assert spending.ledger >= fake.billed()
    house.close()


def test_launches_that_only_waited_for_their_turn_are_not_failed_ones(
    house: House, fake: FakeVast
) -> None:
    for _ in range(10):
        house.client._rate_limit.push_back("create", 30.0)
        with pytest.raises(RateLimitedError):
            house.create()
        house.clock.now += 10
    assert house.ledger.launch_failures("worker")[0] == 0
    assert fake.calls["create"] == 0


def test_launches_that_only_waited_for_their_turn_do_not_use_up_the_minute(
    build: Callable[..., House], fake: FakeVast
) -> None:
    """As many workers at once have it: the market takes one in 4.5 s."""
    house = build(launches_per_minute=3)
    house.client._rate_limit.push_back("create", 30.0)
    for request in "abc":
        with pytest.raises(RateLimitedError, match="away from its turn"):
            house.create(request)
    house.clock.now += 31.0
    assert [house.create(request).request for request in "abc"] == ["a", "b", "c"]
    with pytest.raises(RateLimitedError, match="3 machines were asked for within the last minute"):
        house.create("d")


def test_no_more_launches_in_a_minute_than_allowed(
    build: Callable[..., House], fake: FakeVast
) -> None:
    house = build(launches_per_minute=3)
    start = house.clock.now
    for request in "abc":
        house.create(request)
    with pytest.raises(RateLimitedError, match="launches_per_minute is 3; the next may be in"):
        house.create("d")
    assert house.ledger.launch_failures("worker")[0] == 0
    house.clock.now = start + 61
    house.create("d")
    assert fake.calls["create"] == 4


def test_one_that_vanished_is_asked_for_alone_before_it_counts_as_gone(
    house: House, fake: FakeVast
) -> None:
    node = house.create()
    house.steps(60)
    fake.fail("list", Fault.EMPTY)
    house.clock.now += 60
    with pytest.raises(OddAnswerError, match="which exists"):
        house.rentals.step()
    fake.answer("DELETE", f"/api/v0/instances/{node.contract}/", {}, {}, fake.key)
    house.steps(15)
    assert house.rentals.nodes() == []
    assert house.keys.held == []
    assert "not ended by this cluster" in house.ledger.rentals()[0].ended_reason


def test_failed_launches_back_off(house: House, fake: FakeVast, clock: Clock) -> None:
    fake.credit = 0.0
    waits = []
    for _ in range(4):
        with pytest.raises(CloudError, match="add credit"):
            house.create()
        failed = clock.now
        while True:
            try:
                house.create()
            except BackOffError as error:
                assert "insufficient_credit" in str(error)
            except CloudError:
                waits.append(clock.now - failed)
                break
            clock.now += 1
        clock.now += 1_000
    assert waits == sorted(waits)
    assert waits[0] >= 10
    assert waits[-1] >= 8 * waits[0]
    assert alive(fake) == []


def test_no_offer_under_the_caps_names_the_remedy(house: House, fake: FakeVast) -> None:
    for item in fake.offers.values():
        item["min_bid"] = 0.75
    with pytest.raises(NoOfferError, match="raise max_dollars_per_hour to"):
        house.create()
    assert fake.calls["create"] == 0


def test_the_cap_stops_launches_and_then_ends_everything(
    build: Callable[..., House], fake: FakeVast
) -> None:
    house = build(cap_dollars=1.0)
    house.create("a")
    house.create("b")
    house.steps(4800, each=120)
    with pytest.raises(BudgetError, match="raise the cap"):
        house.create("c")
    assert len(alive(fake)) == 2
    house.steps(3600, each=120)
    assert alive(fake) == []
    assert sum(item.dollars for item in fake.instances.values()) <= 1.0
    assert "the cap of $1.00 is spent" in house.ledger.rentals()[0].ended_reason


def test_estimates_are_no_lower_than_what_is_billed(house: House, fake: FakeVast) -> None:
    house.create()
    house.steps(1800, each=60)
    fake.transfer(next(iter(fake.instances)), down_gb=50)
    house.steps(5400, each=60)
    billed = sum(item.dollars for item in fake.instances.values())
    assert billed <= house.rentals.budget().spent < billed * 1.2
    (rental,) = house.ledger.rentals()
    assert rental.charged is not None
    assert rental.unforeseen == pytest.approx(0.1, abs=0.03)


def test_a_key_that_may_not_see_the_account_rents_by_the_two_other_counts(
    house: House, fake: FakeVast
) -> None:
    """The guide's key: it may search, create, list, destroy and read billing, and nothing else."""
    fake.scopes = fake.scopes - {"user_read"}
    house.create()
    house.steps(1_800, each=60)
    assert house.rentals.money.billing.trouble == ""
    spending = house.rentals.budget().spending
    assert (spending.credit, spending.dollars >= fake.billed()) == (0.0, True)


def test_no_more_instances_than_allowed_and_no_search_for_what_is_not(
    build: Callable[..., House], fake: FakeVast
) -> None:
    house = build(max_instances=2)
    house.create("a")
    house.create("b")
    searches = fake.calls["search"]
    for _ in range(3):
        house.steps(90.0)  # what was found is no longer known
        with pytest.raises(FullError, match="the limit is 2"):
            house.create("c")
    assert fake.calls["search"] == searches


def test_many_at_once_have_each_their_own(house: House, fake: FakeVast) -> None:
    fake.limits = False  # the clock that sleeping moves is everybody's
    nodes: list[Node] = []
    threads = [
        threading.Thread(target=lambda name=name: nodes.append(house.create(name)))
        for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(node.k for node in nodes) == [2, 3, 4, 5]
    assert len({node.contract for node in nodes}) == len(alive(fake)) == 4
    assert len({node.machine for node in nodes}) == 4


def test_taking_the_cluster_down_is_final_until_it_is_opened(house: House, fake: FakeVast) -> None:
    house.create("a")
    house.create("b")
    assert house.rentals.destroy_all("ray down") == []
    assert alive(fake) == []
    with pytest.raises(ClosedError, match="ray down"):
        house.create("c")
    house.rentals.open()
    house.clock.now += 60
    assert house.create("c").k == 4


def test_what_turns_up_in_a_closed_cluster_is_destroyed(house: House, fake: FakeVast) -> None:
    fake.late_s = 60
    fake.fail("create", Fault.APPEARS_LATE)
    with pytest.raises(UncertainError):
        house.create()
    house.rentals.destroy_all("ray down")
    house.steps(90)
    assert alive(fake) == []
    assert house.ledger.in_flight() == []


def test_one_that_is_listed_again_after_its_end_is_destroyed_again(
    house: House, fake: FakeVast
) -> None:
    node = house.create()
    house.steps(15)
    fake.fail("destroy", Fault.REFUSED_500)
    house.ledger.ended(node.contract, returned("the API said so, wrongly"))
    house.steps(30)
    assert alive(fake) == []
    assert house.ledger.live() == []


def test_a_worker_that_runs_counts_only_with_its_link(house: House, fake: FakeVast) -> None:
    node = house.create()
    house.links[node.k] = False
    house.steps(600)
    house.links[node.k] = True
    house.steps(60)
    house.links[node.k] = False
    house.steps(885)
    del house.links[node.k]  # nobody knows, as while the head is at fault
    house.steps(30)
    house.links[node.k] = False
    house.steps(900)
    assert [item.id for item in alive(fake)] == [node.contract]
    house.steps(30)
    assert alive(fake) == []
    (reason,) = house.ledger.avoided().values()
    assert reason == "running, but its link is not open for 900 s"


def test_who_has_run_and_is_meant_to_stay_is_loaded(house: House, fake: FakeVast) -> None:
    fake.load_s = 20.0
    node = house.create()
    house.steps(15)
    assert house.rentals.loaded() == {}
    house.steps(15)
    assert house.rentals.loaded() == {node.k: node.contract}
    house.rentals.condemn(node.contract, taken_away("its link is closed for 11 s"))
    assert house.rentals.loaded() == {}
    house.steps(15)
    assert alive(fake) == []
