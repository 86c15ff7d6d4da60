"""A cluster that wants three workers, the API on loopback, and a virtual clock: what may go wrong.

Everything is in this process, without a network. A daemon that is killed is an exception that
nobody catches, after which another one starts from the same ledger.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.vast.fake_transport import FakeTransport
from tests.tune_app.cloud.vast.fake_vast import FakeInstance, FakeVast, Fault, endpoint_of, offer
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.market.labels import prefix
from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.renting.rented_machines import Rentals
from tune_app.cloud.renting.settings import CloudSettings, NodeType
from tune_app.cloud.secrets.key import ApiKey
from tune_app.cloud.steady_clock import SteadyClock
from tune_app.cloud.vast.client import VastClient
from tune_app.cloud.vast.rate_limit import RateLimit

WANTED = ("w0", "w1", "w2")
DAY_S = 86_400.0
SEARCHES_A_DAY = 1_000
GRACE_S = 150.0
"""An instance too many that the API itself made or hid is ended within this time."""


class Killed(BaseException):
    """The daemon is gone at this very point."""


class World:
    """The cluster, its API, and its user's expectations, which `tick` checks."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.skew = 0.0
        self.fake = FakeVast(
            [offer(number, min_bid=0.2 + number / 1_000) for number in range(1, 41)],
            clock=self.clock,
            credit=1_000.0,
            load_s=60.0,
            limits=True,
            searches_a_day=SEARCHES_A_DAY,
        )
        self.fake._server.server_close()
        self.folder = folder
        self.settings = CloudSettings(
            cluster="mine",
            # The offer's traffic is not simulated here: what is expected of it is not billed.
            node_types={"worker": NodeType(image="cuda", rules=OfferRules(min_hours_left=1.0))},
            cap_dollars=500.0,
            max_instances=len(WANTED),
        )
        self.kill_at: tuple[str, str] | None = None
        self.locker: sqlite3.Connection | None = None
        self.deaths = 0
        self.searches_refused_since: int | None = None
        """Calls of the search before the day's quota was used up; None where it is not."""
        self._too_many_since: float | None = None
        self.start()

    def start(self) -> None:
        """The daemon, for the first time or again."""
        clock = SteadyClock(
            wall=lambda: self.clock.now + self.skew, steady=lambda: self.clock.now - 1e6
        )
        self.client = VastClient(
            ApiKey(self.fake.key),
            base_url=self.fake.url,
            rate_limit=RateLimit(clock=self.clock, sleep=self.clock.sleep),
            clock=clock,
            sleep=self.clock.sleep,
            heard=clock.heard,
            transport=FakeTransport(
                self.fake,
                silence=lambda: self.clock.sleep(self.settings.patience.http),
                before=lambda *call: self._die("before", *call),
                after=lambda *call: self._die("after", *call),
            ),
        )
        self.ledger = Ledger.open(
            self.folder / "ledger.sqlite3", cluster="mine", slots=range(2, 20), clock=clock
        )
        # Nothing here cuts the power, and nobody waits for a lock by the real clock.
        self.ledger._connection.execute("PRAGMA synchronous = OFF")
        self.ledger._connection.execute("PRAGMA busy_timeout = 0")
        self.rentals = Rentals(
            self.settings, self.client, self.ledger, clock=clock, sleep=self.clock.sleep
        )

    def _die(self, when: str, method: str, path: str) -> None:
        if self.kill_at == (when, endpoint_of(method, path)[0]):
            self.kill_at = None
            raise Killed

    def close(self) -> None:
        self.unlock()
        self.ledger.close()
        self.client.close()

    def unlock(self) -> None:
        """Another process lets go of the ledger; the disk has space again."""
        if self.locker is not None:
            self.locker.close()
            self.locker = None
        with suppress(sqlite3.ProgrammingError):
            self.ledger._connection.execute("PRAGMA max_page_count = 1000000")

    def mend(self) -> None:
        """Nothing fails any more, once the day is over whose searches were used up."""
        self.fake.mend()
        if self.searches_refused_since is not None:
            self._wait_for_searches(self.searches_refused_since)
        self.unlock()
        self.kill_at = None
        self.fake.scopes = self.fake.scopes | {"billing_read"}

    def _wait_for_searches(self, before: int) -> None:
        """Until shortly before midnight UTC: one refusal, and nothing is asked for after it."""
        while self.clock.now % DAY_S < DAY_S - 600.0:
            self.tick(300.0)
        assert self.fake.calls["search"] == before + 1
        self.fake.searches_a_day = SEARCHES_A_DAY
        self.searches_refused_since = None

    def tick(self, seconds: float = 15.0, *, wanted: tuple[str, ...] = WANTED) -> None:
        """What autoscaler and daemon do in one interval, and what must hold after it."""
        self.clock.now += seconds
        try:
            self.rentals.money.drains.asked()
            there = {node.request for node in self.rentals.known_nodes()}
            for request in wanted:
                if request not in there:
                    with suppress(OSError):
                        self.rentals.create("worker", request)
            with suppress(OSError):
                self.rentals.step()
        except Killed:
            self.deaths += 1
            self.close()
            self.clock.now += 5.0
            self.start()
        self.check()

    def ticks(self, count: int, seconds: float = 15.0) -> None:
        for _ in range(count):
            self.tick(seconds)

    def check(self) -> None:
        now = self.clock.now
        alive = self.fake.alive()
        visible = [item for item in alive if item.listed_from <= now]
        self._too_many_since = (
            None
            if len(visible) <= len(WANTED)
            else now
            if self._too_many_since is None
            else self._too_many_since
        )
        if self._too_many_since is not None:
            assert now - self._too_many_since <= GRACE_S, [item.label for item in visible]
        assert not self.fake.too_fast, self.fake.too_fast
        for endpoint, body in self.fake.bodies:
            if endpoint == "create":
                assert body["price"] > 0, "rented on demand"
                assert body["label"].startswith(prefix("mine"))
        self.fake.bodies.clear()
        # The ledger by itself: the credit would hide what it lacks.
        ledger, billed = self.rentals.budget().spending.ledger, self.fake.billed()
        assert ledger >= billed - 1e-9, (ledger, billed)

    def is_well(self) -> bool:
        """Whether each request has its worker, and nothing else is there."""
        nodes = self.rentals.known_nodes()
        return (
            sorted(node.request for node in nodes) == sorted(WANTED)
            and {node.contract for node in nodes} == {item.id for item in self.fake.alive()}
            and all(item.is_bid and not item.stopped for item in self.fake.alive())
            and all(item.state == "running" for item in self.fake.alive())
        )

    def recover(self) -> None:
        """Until all is well, within two hours; raises AssertionError otherwise."""
        for _ in range(180):
            if self.is_well():
                return
            self.tick(40.0)
        raise AssertionError(
            ([vars(item) for item in self.fake.alive()], self.ledger.launch_failures("worker"))
        )

    def settle(self) -> None:
        """The end: everything is destroyed, and days later the charges are complete."""
        for _ in range(20):
            with suppress(OSError):
                if self.rentals.destroy_all("the end") == []:
                    break
            self.clock.now += 60.0
        assert self.fake.alive() == []
        assert self.ledger.live() == []
        assert self.ledger.in_flight() == []
        for _ in range(14):
            self.tick(6 * 3_600.0, wanted=())
        assert abs(self.ledger.spent() - self.fake.billed()) < 1e-6
        assert abs(self.rentals.budget().spent - self.fake.billed()) < 1e-6


# States


def _running(world: World) -> list[FakeInstance]:
    return [item for item in world.fake.alive() if item.state == "running" and not item.stopped]


def empty(world: World) -> None:
    """Nothing is rented, and everything is about to be."""
    for node in world.rentals.known_nodes():
        with suppress(OSError):
            world.rentals.destroy(node.contract, "asked for")


def loading(world: World) -> None:
    """One is just rented."""
    for item in _running(world)[:1]:
        with suppress(OSError):
            world.rentals.destroy(item.id, "asked for")
    world.tick()


def running(world: World) -> None:
    """All run; one is outbid a moment later."""


def outbid(world: World) -> None:
    """One is outbid, and nobody knows it yet."""
    for item in _running(world)[:1]:
        world.fake.outbid(item.id)


def condemned(world: World) -> None:
    """One is to be destroyed, and that failed."""
    world.fake.fail("destroy", Fault.REFUSED_500, Fault.REFUSED_500)
    for item in _running(world)[:1]:
        with suppress(OSError):
            world.rentals.destroy(item.id, "asked for")


STATES: dict[str, Callable[[World], None]] = {
    state.__name__: state for state in (empty, loading, running, outbid, condemned)
}


# Faults


def _fails(endpoint: str, *faults: Fault, times: int = 2) -> Callable[[World], None]:
    return lambda world: world.fake.fail(endpoint, *(faults * times))


def _says(endpoints: str, status: int, answer: dict[str, Any]) -> Callable[[World], None]:
    def inject(world: World) -> None:
        for endpoint in endpoints.split():
            for _ in range(3):
                world.fake.say(endpoint, status, answer)

    return inject


def _late(seconds: float) -> Callable[[World], None]:
    def inject(world: World) -> None:
        world.fake.late_s = seconds
        world.fake.fail("create", Fault.APPEARS_LATE)

    return inject


def _one(change: Callable[[World, FakeInstance], None]) -> Callable[[World], None]:
    def inject(world: World) -> None:
        for item in world.fake.alive()[-1:]:
            change(world, item)

    return inject


def _killed(when: str, endpoint: str) -> Callable[[World], None]:
    def inject(world: World) -> None:
        world.kill_at = (when, endpoint)

    return inject


def _price_doubles(_: World, item: FakeInstance) -> None:
    item.price *= 2


def _all_sold(world: World) -> None:
    """Somebody else took the cheapest offers since the search."""
    for number in sorted(set(world.fake.offers) - world.fake._sold)[:3]:
        world.fake.say("create", 404, {"error": "no_such_ask", "msg": f"{number}: error 3603"})


def _bids_rise(world: World) -> None:
    """Since the search that is remembered, everybody bids more."""
    with suppress(OSError):
        world.client.offers(world.settings.node_types["worker"].rules)
    for item in world.fake.offers.values():
        item["min_bid"] = min(item["min_bid"] * 1.3, 0.35)


def _search_quota(world: World) -> None:
    world.fake.searches_a_day = 0
    world.searches_refused_since = world.fake.calls["search"]


def _locked(world: World) -> None:
    world.locker = sqlite3.connect(world.folder / "ledger.sqlite3", isolation_level=None)
    world.locker.execute("BEGIN IMMEDIATE")


def _full(world: World) -> None:
    world.ledger._connection.execute("PRAGMA max_page_count = 1")


def _skewed(seconds: float) -> Callable[[World], None]:
    """The head's clock jumps, and the daemon starts again by it."""

    def inject(world: World) -> None:
        world.skew += seconds
        world.close()
        world.clock.now += 5.0
        world.start()

    return inject


def _no_billing(world: World) -> None:
    world.fake.scopes = world.fake.scopes - {"billing_read"}


AUTH = {"success": False, "error": "auth_error", "msg": "Invalid user key"}
FAULTS: dict[str, Callable[[World], None]] = {
    "429": _says("search create list show destroy", 429, {"msg": "API requests too frequent"}),
    "search quota": _search_quota,
    "create: 5xx before": _fails("create", Fault.REFUSED_500),
    "create: 5xx after": _fails("create", Fault.CREATED_THEN_500),
    "create: time-out before": _fails("create", Fault.SILENCE),
    "create: time-out after": _fails("create", Fault.CREATED_THEN_SILENCE),
    "create: listed after a minute": _late(60.0),
    "create: listed after it was given up": _late(400.0),
    "create: success false under 200": _fails("create", Fault.UNSUCCESSFUL),
    "create: 410": _fails("create", Fault.UNAVAILABLE),
    "create: html": _fails("create", Fault.HTML),
    "create: cut off": _fails("create", Fault.CUT_OFF),
    "offer sold twice": _all_sold,
    "bid too low": _bids_rise,
    "on demand instead of spot": _fails("create", Fault.ON_DEMAND),
    "another price than the bid": _fails("create", Fault.WRONG_PRICE),
    "price changed": _one(_price_doubles),
    "wrong GPU": _fails("create", Fault.WRONG_GPU),
    "never loading": _fails("create", Fault.NEVER_LOADS),
    "list: 5xx": _fails("list", Fault.REFUSED_500, times=4),
    "list: time-out": _fails("list", Fault.SILENCE, times=4),
    "list: empty by mistake": _fails("list", Fault.EMPTY),
    "list: torn": _fails("list", Fault.SHORT),
    "list: cut off": _fails("list", Fault.CUT_OFF),
    "list: without a list": _fails("list", Fault.NO_LIST),
    "list: odd item": _fails("list", Fault.ODD_ITEM),
    "list: in a circle": _fails("list", Fault.CIRCLE, times=4),
    "list: success false under 200": _fails("list", Fault.UNSUCCESSFUL),
    "list: 410": _says("list", 410, {"success": False, "error": "gone"}),
    "404 auth_error": _says("search create list show destroy charges", 404, AUTH),
    "show: odd": _fails("show", Fault.HTML),
    "destroy: 5xx before": _fails("destroy", Fault.REFUSED_500, times=4),
    "destroy: 5xx after": _fails("destroy", Fault.CREATED_THEN_500),
    "destroy: time-out": _fails("destroy", Fault.SILENCE, times=4),
    "destroy: success false under 200": _fails("destroy", Fault.UNSUCCESSFUL),
    "destroy: done by its word alone": _fails("destroy", Fault.NO_BUT_YES),
    "outbid": _one(lambda world, item: world.fake.outbid(item.id)),
    "offline": _one(lambda world, item: world.fake.set_state(item.id, "offline")),
    "unknown": _one(lambda world, item: world.fake.set_state(item.id, "unknown")),
    "exited": _one(lambda world, item: world.fake.set_state(item.id, "exited")),
    "relabelled": _one(lambda _, item: setattr(item, "label", "by hand")),
    "price not told": _one(lambda _, item: setattr(item, "spoilt", {"dph_total": None})),
    "a platform fee": _one(lambda world, _: setattr(world.fake, "fee_per_hour", 0.01)),
    "clock a day ahead": _skewed(86_400.0),
    "clock a day behind": _skewed(-86_400.0),
    "killed before create": _killed("before", "create"),
    "killed after create": _killed("after", "create"),
    "killed before destroy": _killed("before", "destroy"),
    "killed after destroy": _killed("after", "destroy"),
    "killed while listing": _killed("after", "list"),
    "killed while searching": _killed("after", "search"),
    "database locked": _locked,
    "disk full": _full,
    "charges: not allowed": _no_billing,
    "charges: 5xx": _fails("charges", Fault.REFUSED_500, times=4),
}


def happen(world: World, fault: str, state: str) -> None:
    """A fault at a state; another worker is outbid, so that one is destroyed and one created.

    Where none runs yet, it is one that loads.
    """
    STATES[state](world)
    FAULTS[fault](world)
    world.ticks(2)
    for item in (_running(world) or world.fake.alive())[:1]:
        world.fake.outbid(item.id)
    world.ticks(8)
    world.mend()
    world.recover()
