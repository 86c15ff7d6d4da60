"""The cap holds on a virtual clock, whatever happens at the worst moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.ledger.test_ledger import QUOTE
from tests.tune_app.cloud.renting.metered_market import MeteredMarket
from tune_app.cloud.errors import BudgetError, CloudError, LaunchError
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.ledger.records import Rental
from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.renting.drain import Phase
from tune_app.cloud.renting.rented_machines import Rentals
from tune_app.cloud.renting.settings import CloudSettings, NodeType

RULES = OfferRules(max_dollars_per_hour=9.0, bid_factor=1.0)


class Cluster:
    """A cluster that wants workers for as long as it may have them, and its driver.

    Args:
        wanted: this many workers.
        save_s: what its driver needs to save; infinite for one that hangs.
    """

    def __init__(
        self, folder: Path, *, cap: float, price: float, wanted: int, save_s: float = 60.0
    ) -> None:
        self.clock = Clock()
        self.market = MeteredMarket(self.clock, price=price)
        self.folder, self.wanted, self.save_s = folder, wanted, save_s
        self.settings = CloudSettings(
            cluster="mine",
            node_types={"worker": NodeType(image="cuda", rules=RULES)},
            cap_dollars=cap,
            max_instances=wanted,
        )
        self.saving_since: float | None = None
        self.start()

    def start(self, **changed: Any) -> None:
        """The daemon, for the first time or again."""
        self.settings = replace(self.settings, **changed)
        self.ledger = Ledger.open(
            self.folder / "ledger", cluster="mine", slots=range(2, 128), clock=self.clock
        )
        # Nothing here cuts the power: these tests need no sync to the disk.
        self.ledger._connection.execute("PRAGMA synchronous = OFF")
        self.rentals = Rentals(
            self.settings, self.market, self.ledger, clock=self.clock, sleep=self.clock.sleep
        )

    def kill(self, *, off_s: float = 25.0, **changed: Any) -> None:
        """The daemon is killed and starts again, as systemd does it."""
        self.ledger.close()
        self.clock.now += off_s
        self.start(**changed)

    @property
    def phase(self) -> Phase | None:
        drain = self.rentals.money.drains.current()
        return None if drain is None else drain.phase

    def step(self, seconds: float) -> None:
        """What autoscaler, driver and daemon do in one interval."""
        self.clock.now += seconds
        drains = self.rentals.money.drains
        drains.asked()
        order = drains.driver_asked("sweep")
        if order is None:
            self.saving_since = None
            for number in range(self.wanted):
                if len(self.market.rented) >= self.wanted:
                    break
                with suppress(LaunchError, CloudError):
                    self.rentals.create("worker", f"w{number}")
        elif self.saving_since is None:
            self.saving_since = self.clock.now
        elif self.clock.now - self.saving_since >= self.save_s:
            drains.driver_saved("sweep", order.number)
        with suppress(CloudError):
            self.rentals.step()
        assert self.market.meter("stellux/mine/") <= self.settings.cap_dollars

    def run(
        self, until: Callable[[], bool], *, hours: float = 2_000.0, most_s: float = 43_200.0
    ) -> None:
        """Steps, of `most_s` at most, and shorter ones near the cap."""
        end = self.clock.now + hours * 3600
        while not until() and self.clock.now < end:
            budget = self.rentals.budget()
            spare = budget.left - budget.drain_reserve
            far = spare / budget.per_hour * 3600 if budget.per_hour else 0.0
            self.step(15.0 if self.phase is not None else max(min(far / 2, most_s), 15.0))
        assert until(), (self.phase, self.rentals.budget())


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def build(**values: Any) -> Cluster:
        made.append(Cluster(tmp_path, **values))
        return made[-1]

    yield build
    for cluster in made:
        cluster.ledger.close()


BURNS = {0.1: (0.1, 1), 5.0: (0.5, 10)}
"""$/h of all workers: the price of one, and how many."""
EVENTS = ("nothing", "the driver hangs", "killed", "down", "killed and down", "silent")


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("burn", BURNS)
@pytest.mark.parametrize("cap", [0.5, 50.0])
def test_never_more_than_the_cap_is_billed(
    build: Callable[..., Cluster], cap: float, burn: float, event: str
) -> None:
    price, wanted = BURNS[burn]
    cluster = build(
        cap=cap,
        price=price,
        wanted=wanted,
        save_s=float("inf") if event == "the driver hangs" else 60.0,
    )
    cluster.run(lambda: cluster.market.created_at != [] or cluster.clock.slept != [], hours=1)
    assert cluster.market.rented, "even the small cap is enough for one"
    if event == "silent":
        cluster.market.silent_until = cluster.clock.now + 1e9
    cluster.run(lambda: cluster.phase is not None)
    if "killed" in event:
        cluster.kill()
    if "down" in event:
        cluster.market.down_until = cluster.clock.now + 600.0
    cluster.run(lambda: cluster.phase is Phase.ENDING)
    if "killed" in event:
        cluster.kill()
    if "down" in event:
        cluster.market.down_until = cluster.clock.now + 600.0
    cluster.run(lambda: cluster.phase is Phase.ENDED)
    assert cluster.market.rented == {}
    spent = cluster.market.meter()
    assert spent >= cap - 2.0 * cluster.rentals.budget().ending.unable_s / 3600 * burn - 0.2
    created = len(cluster.market.created_at)
    for _ in range(5):
        cluster.step(600.0)
    assert (len(cluster.market.created_at), cluster.market.meter()) == (created, spent)
    with pytest.raises(BudgetError, match="the cluster drains"):
        cluster.rentals.create("worker", "more")


def test_a_higher_cap_ends_the_drain_and_workers_come_back(build: Callable[..., Cluster]) -> None:
    cluster = build(cap=0.5, price=0.1, wanted=2)
    cluster.run(lambda: cluster.phase is Phase.ENDED)
    assert cluster.market.rented == {}
    cluster.kill()
    cluster.step(15.0)
    assert cluster.phase is Phase.ENDED, "a new daemon knows the drain"
    cluster.kill(cap_dollars=2.0)
    cluster.step(15.0)
    cluster.step(15.0)
    assert cluster.phase is None
    assert len(cluster.market.rented) == 2


def test_what_drivers_said_in_an_earlier_drain_is_forgotten(build: Callable[..., Cluster]) -> None:
    cluster = build(cap=0.5, price=0.1, wanted=1)
    cluster.run(lambda: cluster.phase is Phase.SAVING)
    drains = cluster.rentals.money.drains
    order = drains.current()
    assert order is not None
    drains.driver_saved("earlier", order.number - 1)
    drains.driver_saved("sweep", order.number)
    cluster.step(15.0)
    assert drains._saved == {"sweep": order.number}


def test_the_time_to_save_is_measured(build: Callable[..., Cluster]) -> None:
    cluster = build(cap=0.5, price=0.1, wanted=2, save_s=120.0)
    assert cluster.rentals.budget().ending.save_s == 180.0
    cluster.run(lambda: cluster.phase is Phase.ENDED)
    took = cluster.rentals.budget().ending.save_s
    assert 1.5 * 120 <= took <= 1.5 * 150


def test_nothing_is_rented_on_billing_data_older_than_an_hour(
    build: Callable[..., Cluster],
) -> None:
    cluster = build(cap=50.0, price=0.1, wanted=1)
    cluster.step(15.0)
    assert len(cluster.market.created_at) == 1
    cluster.market.silent_until = cluster.clock.now + 7_200.0
    for _ in range(70):
        cluster.step(60.0)
    (contract,) = cluster.market.rented
    cluster.rentals.destroy(contract, "asked for")
    stopped = cluster.clock.now
    with pytest.raises(BudgetError, match="older than 60 minutes"):
        cluster.rentals.create("worker", "next")
    while cluster.clock.now < stopped + 40 * 60:
        cluster.step(60.0)
    assert len(cluster.market.created_at) == 1, "silent"
    for _ in range(20):
        cluster.step(60.0)
    assert len(cluster.market.created_at) == 2, "it answers again"


def test_what_the_account_lost_counts_if_it_is_more(build: Callable[..., Cluster]) -> None:
    cluster = build(cap=5.0, price=0.1, wanted=1)
    cluster.step(15.0)
    (contract,) = cluster.market.rented
    cluster.market.billed[contract] += 4.9  # traffic that nobody expected
    cluster.run(lambda: cluster.phase is Phase.ENDED, hours=1, most_s=60.0)
    assert cluster.market.rented == {}
    assert cluster.rentals.budget().spending.dollars >= 4.9


def test_others_in_the_account_do_not_count(build: Callable[..., Cluster]) -> None:
    cluster = build(cap=5.0, price=0.1, wanted=1)
    cluster.step(15.0)
    cluster.market.labels[7], cluster.market.billed[7] = "stellux/other/worker/2/a.1", 40.0
    for _ in range(40):
        cluster.step(60.0)
    assert cluster.rentals.budget().spent < 0.5


def test_where_nobody_asks_for_the_list_everything_ends(build: Callable[..., Cluster]) -> None:
    cluster = build(cap=50.0, price=0.5, wanted=4)
    cluster.step(15.0)
    assert len(cluster.market.rented) == 4
    for _ in range(80):
        cluster.clock.now += 15.0
        cluster.rentals.step()
    assert cluster.market.rented == {}
    assert cluster.market.meter() < 1.0
    cluster.step(15.0)
    cluster.step(15.0)
    assert len(cluster.market.rented) == 4, "somebody asks again"


def test_once_a_day_the_ledger_forgets_what_failed_a_month_ago(
    build: Callable[..., Cluster],
) -> None:
    cluster = build(cap=5.0, price=0.1, wanted=1)
    cluster.ledger.avoid(9, "never loaded", seconds=60.0)
    for _ in range(32):
        cluster.clock.now += 86_400.0
        cluster.rentals.step()
    rows = cluster.ledger._connection.execute("SELECT COUNT(*) FROM bad_machines").fetchone()
    assert tuple(rows) == (0,)


def test_a_pending_request_counts_as_rented(build: Callable[..., Cluster]) -> None:
    cluster = build(cap=5.0, price=0.5, wanted=2)
    cluster.market.create_answers = False
    with pytest.raises(LaunchError):
        cluster.rentals.create("worker", "a")
    budget = cluster.rentals.budget()
    assert budget.workers == len(cluster.ledger.in_flight()) == 1
    assert budget.per_hour >= 0.5


def test_at_the_cap_another_clusters_workers_stay(build: Callable[..., Cluster]) -> None:
    cluster = build(cap=0.5, price=0.1, wanted=1)
    cluster.step(15.0)
    (mine,) = cluster.market.rented
    cluster.market.rented[7] = replace(
        cluster.market.rented[mine], id=7, label="stellux/other/worker/2/a.1"
    )
    cluster.market.labels[7], cluster.market.billed[7] = "stellux/other/worker/2/a.1", 0.0
    cluster.run(lambda: cluster.phase is Phase.ENDED)
    assert list(cluster.market.rented) == [7]


def test_a_machine_counts_at_the_moment_in_which_its_request_is_answered(
    build: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The market's answer is written by another thread, between two reads of the budget."""
    cluster = build(cap=50.0, price=0.1, wanted=1)
    ledger = cluster.ledger
    attempt = ledger.reserve("w0", cluster="mine", node_type="worker", quote=QUOTE, at_most=1)
    answered = threading.Thread(target=ledger.rented, args=(attempt.id, 5))
    read = ledger.live

    def live() -> list[Rental]:
        found = read()
        if answered.ident is None:
            answered.start()
            answered.join(0.5)  # it may have to wait until all is read
        return found

    monkeypatch.setattr(ledger, "live", live)
    budget = cluster.rentals.budget()
    answered.join()
    assert (budget.workers, budget.per_hour > 0) == (1, True)
    assert [rental.contract for rental in read()] == [5]
