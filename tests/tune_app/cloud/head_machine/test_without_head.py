"""A cluster's machines without its head: found by label, ended, and beside a living one spared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.vast.fake_vast import FakeVast, Fault, offer
from tune_app.cloud.autoscaling.teardown import Teardown
from tune_app.cloud.cluster_yaml.records import HeadMachine
from tune_app.cloud.daemon.client import DaemonClient
from tune_app.cloud.daemon.protocol import DaemonError
from tune_app.cloud.head.shell import HeadUnreachableError
from tune_app.cloud.head_machine.choose import GivenHead
from tune_app.cloud.head_machine.without_head import (
    end_all,
    end_orphans,
    market_from_here,
)
from tune_app.cloud.market.access import MarketAccess
from tune_app.cloud.market.protocol import Market
from tune_app.cloud.renting.orphans import Owner
from tune_app.cloud.secrets.account_total import read_total, set_aside, set_free, set_total
from tune_app.cloud.vast.site import SITE

DAY = 86_400.0
MINE, OTHER = "h00000001", "h00000002"
REFUSED = {"success": False, "error": "server_busy", "msg": "try again"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fake(clock: Clock) -> Iterator[FakeVast]:
    with FakeVast([offer(number) for number in range(1, 12)], clock=clock) as server:
        yield server


def rented(fake: FakeVast, label: str) -> int:
    """An instance that exists; its number."""
    number = next(one for one in fake.offers if one not in fake._sold)
    body = {"price": 0.3, "disk": 40, "label": label}
    _, answer = fake.answer("PUT", f"/api/v0/asks/{number}/", {}, body, fake.key)
    return int(answer["new_contract"])


@contextmanager
def market(fake: FakeVast) -> Iterator[Market]:
    environment = {"VAST_API_KEY": fake.key}
    access = MarketAccess(base_url=fake.url)
    with market_from_here(access, environment, Path("/nowhere")) as made:
        made._rate_limit._between = {}  # type: ignore[attr-defined]
        yield made


def alive(fake: FakeVast) -> set[int]:
    return {one.id for one in fake.alive()}


def test_all_of_a_cluster_ends_and_nothing_of_another(fake: FakeVast, clock: Clock) -> None:
    mine = {rented(fake, f"stellux/mine/gpu/2/a.1/{MINE}"), rented(fake, "stellux/mine/gpu/3/b.1")}
    others = {
        rented(fake, "stellux/mine-too/gpu/2/a.1"),
        rented(fake, "stellux/other/gpu/2/a.1"),
        rented(fake, "stellux/mine/"),  # no label of this program's
        rented(fake, ""),
    }
    assert alive(fake) == mine | others
    said: list[str] = []
    fake.say("destroy", 200, REFUSED)
    for _ in range(2):
        with market(fake) as asked:
            left = end_all(
                asked, "mine", said.append, apart_s=60, within_s=900, sleep=clock.sleep, clock=clock
            )
        assert (left, alive(fake)) == ([], others)
    assert sum("is not destroyed: " in line for line in said) == 1
    assert sum(line.startswith("destroyed instance") for line in said) == 2


def test_what_does_not_end_is_named(fake: FakeVast, clock: Clock) -> None:
    number = rented(fake, f"stellux/mine/gpu/2/a.1/{MINE}")
    for _ in range(40):
        fake.say("destroy", 200, REFUSED)
    with market(fake) as asked:
        left = end_all(asked, "mine", str, apart_s=60, within_s=900, sleep=clock.sleep, clock=clock)
    assert left == [number]


def test_beside_a_living_cluster_only_orphans_end(fake: FakeVast, clock: Clock) -> None:
    old = rented(fake, f"stellux/mine/gpu/9/z.1/{OTHER}")
    clock.sleep(4 * DAY)
    kept = {
        "a worker": rented(fake, f"stellux/mine/gpu/2/a.1/{MINE}"),
        "one of an earlier version": rented(fake, "stellux/mine/gpu/3/b.1"),
        "one that is being asked for": rented(fake, f"stellux/mine/gpu/4/c.1/{MINE}"),
        "one that is being destroyed": rented(fake, f"stellux/mine/gpu/5/d.1/{MINE}"),
        "another head's": rented(fake, f"stellux/mine/gpu/2/a.1/{OTHER}"),
        "another cluster's": rented(fake, "stellux/other/gpu/2/a.1"),
    }
    forgotten = rented(fake, f"stellux/mine/gpu/6/e.1/{MINE}")
    stopped = rented(fake, f"stellux/mine/gpu/7/f.1/{OTHER}")
    fake.outbid(stopped)
    owner = Owner(
        head=MINE,
        contracts=frozenset(list(kept.values())[i] for i in (0, 1, 3)),
        requests=frozenset({"c"}),
    )
    said: list[str] = []
    for known in (None, owner, owner):
        with market(fake) as asked:
            left = end_orphans(
                asked,
                "mine",
                said.append,
                owner=[known].copy().pop,
                life_s=3 * DAY,
                clock=clock,
            )
        # While no head answers, only what is past doubt ends.
        spared = set(kept.values()) | (set() if known else {forgotten})
        assert alive(fake) == spared, said
        assert set(left) == spared - {kept["another cluster's"]}
    text = "\n".join(said)
    assert f"destroyed instance {old}, " in text
    for why in ("it should have ended itself after 72 h", "stopped: it", "does not know it"):
        assert why in text


def test_a_list_that_fails_ends_nothing(fake: FakeVast, clock: Clock) -> None:
    number = rented(fake, f"stellux/mine/gpu/2/a.1/{MINE}")
    fake.fail("list", *[Fault.NO_LIST] * 9)
    with market(fake) as asked, pytest.raises(OSError, match="no list of instances"):
        end_orphans(asked, "mine", str, owner=lambda: None, life_s=DAY, clock=clock)
    assert alive(fake) == {number}


class Lost(GivenHead):
    """A head that nobody reaches any more."""

    def never_rented(self) -> bool:
        raise HeadUnreachableError("the head head.example cannot be reached")


def test_ray_down_ends_the_workers_of_a_head_that_is_lost(
    fake: FakeVast, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {rented(fake, "stellux/other/gpu/2/a.1")}
    rented(fake, f"stellux/mine/gpu/2/a.1/{MINE}")
    rented(fake, f"stellux/mine/gpu/3/b.1/{OTHER}")
    monkeypatch.setattr("time.monotonic", clock)
    said: list[str] = []

    def daemon() -> DaemonClient:
        raise AssertionError("it is not asked")

    teardown = Teardown(
        "mine",
        Lost(HeadMachine(address="head.example"), SITE),
        daemon,
        lambda: market(fake),
        looks_apart_s=60,
        say=said.append,
    )
    for _ in range(6):
        teardown.step()
        clock.sleep(30)
    assert (teardown.done, alive(fake)) == (True, others)
    assert "ended from here, by their labels" in said[0]
    assert "the head was not released" in said[-1]
    assert f"make the key invalid on {SITE.keys}" in said[-1]


def test_ray_down_of_a_head_that_was_released_forgets_no_dollar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    set_total(tmp_path, 150.0)
    set_aside(tmp_path, "mine", 50.0)
    set_free(tmp_path, "mine", 30.0)

    class Released(GivenHead):
        def never_rented(self) -> bool:
            return True

        def end(self, say: Callable[[str], object]) -> None:
            """Nothing is left to take off."""

    def nobody(*_: object) -> NoReturn:
        raise AssertionError("nothing is asked")

    head = Released(HeadMachine(address="head.example"), SITE)
    teardown = Teardown("mine", head, nobody, nobody, looks_apart_s=1, say=str)
    teardown.step()
    assert teardown.done
    assert read_total(tmp_path).taken() == 30.0


def test_a_daemon_that_does_not_answer_on_a_living_head_is_waited_for(fake: FakeVast) -> None:
    def daemon() -> DaemonClient:
        raise DaemonError("the cloud daemon does not answer")

    class Living(GivenHead):
        def never_rented(self) -> bool:
            return False

    head = Living(HeadMachine(address="head.example"), SITE)
    teardown = Teardown("mine", head, daemon, lambda: market(fake), looks_apart_s=1, say=str)
    with pytest.raises(DaemonError):
        teardown.step()
    assert not teardown.done
