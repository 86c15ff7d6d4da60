"""What a person is told, when, and how."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.renting.metered_market import MeteredMarket
from tune_app.cloud.daemon.alerts import Alerts, deliver, due
from tune_app.cloud.daemon.conditions import Watched, conditions, may_feed
from tune_app.cloud.daemon.daemon import Daemon, kind_of
from tune_app.cloud.errors import LedgerUnwritableError, UnreachableError, WrongKeyError
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.market.rules import OfferRules
from tune_app.cloud.renting.drain import Cause, Drain, Phase
from tune_app.cloud.renting.rented_machines import Rentals
from tune_app.cloud.renting.settings import CloudSettings, NodeType
from tune_app.cloud.vast.site import SITE
from tune_app.dollars.bill import Bill

FINE = Watched(
    trouble="",
    key_refused=False,
    bug=False,
    unseen_s=5.0,
    billing="",
    drain=None,
    lost="",
    stuck={77: 30.0},
    rented=3,
    site=SITE,
)
DRAIN = Drain(
    number=2,
    cause=Cause.CAP,
    reason="$9.10 of the cap of $10.00 is spent",
    since=0.0,
    deadline=180.0,
    cap=10.0,
    workers=3,
)


@pytest.mark.parametrize(
    ("seen", "name", "said"),
    [
        ({"trouble": "auth_error", "key_refused": True}, "key", "make a new key and run ray up"),
        ({"trouble": "a bug: x", "bug": True}, "bug", "journalctl"),
        ({"trouble": "HTTP 502", "unseen_s": 660.0}, "list", "for 11 minutes: HTTP 502"),
        ({"billing": "older than 60 minutes"}, "billing", "older than 60 minutes"),
        ({"lost": "malformed"}, "ledger", "not restored: malformed"),
        ({"drain": DRAIN}, "drain 2", "the cap of $10.00 is spent"),
        ({"stuck": {77: 700.0, 78: 1.0}}, "stuck", "instances 77 are not destroyed"),
    ],
)
def test_each_condition_has_its_text(seen: dict[str, object], name: str, said: str) -> None:
    holds = conditions(replace(FINE, **seen))  # type: ignore[arg-type]
    assert list(holds) == [name]
    assert said in holds[name]


def capped(dollars: float) -> CloudSettings:
    return CloudSettings(
        cluster="mine",
        node_types={"w": NodeType(image="cuda", rules=OfferRules(max_dollars_per_hour=1.0))},
        cap_dollars=dollars,
    )


def test_what_passes_by_itself_is_not_told() -> None:
    assert conditions(FINE) == {}
    assert conditions(replace(FINE, trouble="HTTP 502", unseen_s=60.0)) == {}
    assert conditions(replace(FINE, drain=replace(DRAIN, phase=Phase.ENDED))) == {}


def test_each_alert_once_and_again_after_an_hour() -> None:
    assert due({"key": "x"}, {}, now=10.0) == {"key": "x"}
    assert due({"key": "y"}, {"key": 10.0}, now=3_609.0) == {}
    assert due({"key": "y", "bug": "z"}, {"key": 10.0}, now=3_610.0) == {"key": "y", "bug": "z"}
    assert due({"key": "y"}, {"key": 1e9}, now=3_610.0) == {"key": "y"}, "the clock was ahead"


def test_a_daemon_that_starts_again_knows_what_was_told(tmp_path: Path) -> None:
    sent: list[str] = []
    clock = Clock()
    for _ in range(3):
        alerts = Alerts(
            "mine",
            to="somewhere",
            memory=tmp_path / "told",
            clock=clock,
            deliver=lambda text, _: sent.append(text),
        )
        alerts.update({"key": "the key is refused"})
        assert alerts.texts() == ("the key is refused",)
        alerts.close()
        clock.now += 1_500
    assert sent == ["stellux mine: the key is refused"]
    (tmp_path / "told").write_text("{", "utf-8")
    assert Alerts("mine", to="", memory=tmp_path / "told").texts() == ()


def test_a_command_gets_the_text_as_one_argument(tmp_path: Path) -> None:
    script = tmp_path / "tell"
    script.write_text(f'#!/bin/sh\nprintf "%s|%s" "$1" "$2" > {tmp_path}/said\n', "utf-8")
    script.chmod(0o755)
    deliver("the cap; $(rm -rf x) is 'near'", f"{script} --loud")
    assert (tmp_path / "said").read_text("utf-8") == "--loud|the cap; $(rm -rf x) is 'near'"
    with pytest.raises(OSError, match="ended with 1"):
        deliver("x", "false")
    with pytest.raises(OSError, match="no-such-command"):
        deliver("x", "no-such-command")


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[object]]]:
    got: list[object] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """A test's output is its own."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", got
        server.shutdown()


def test_a_webhook_gets_the_text_and_a_broken_one_breaks_nothing(
    webhook: tuple[str, list[object]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address, got = webhook
    for to in (address, "http://127.0.0.1:1/closed"):
        alerts = Alerts("mine", to=to, memory=tmp_path / to[-4:])
        alerts.update({"drain 1": "all workers are being ended"})
        alerts.close()
    assert got == [{"text": "stellux mine: all workers are being ended"}]
    assert "on_alert failed" in caplog.text


@dataclass(frozen=True, kw_only=True)
class Watching:
    """A daemon whose steps and questions come from the test."""

    daemon: Daemon
    rentals: Rentals
    market: MeteredMarket
    alerts: Alerts
    clock: Clock
    beats: list[float]
    """When it said to workers that they are watched."""


@contextmanager
def watching(folder: Path, *, cap: float, sent: list[str] | None = None) -> Iterator[Watching]:
    """sent: gets the texts for a person; None if there is nobody to tell."""
    clock, beats = Clock(), list[float]()
    market, settings = MeteredMarket(clock, price=0.5), capped(cap)
    told = [] if sent is None else sent
    with Ledger.open(folder / "ledger", cluster="mine", slots=range(2, 9), clock=clock) as ledger:
        rentals = Rentals(settings, market, ledger, clock=clock, sleep=clock.sleep)
        alerts = Alerts(
            "mine",
            to="" if sent is None else "x",
            memory=folder / "told",
            clock=clock,
            deliver=lambda text, _: told.append(text),
        )
        daemon = Daemon(
            settings,
            rentals,
            ledger,
            alerts=alerts,
            beat=lambda: beats.append(clock.now),
            clock=clock,
        )
        yield Watching(
            daemon=daemon,
            rentals=rentals,
            market=market,
            alerts=alerts,
            clock=clock,
            beats=beats,
        )
        alerts.close()


def test_a_revoked_key_is_told_to_person_journal_and_driver(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[str] = []
    with watching(tmp_path, cap=10.0, sent=sent) as at:
        at.rentals.create("w", "a")
        at.daemon.step()
        assert (at.alerts.texts(), len(at.beats)) == ((), 1)
        at.market.fails = WrongKeyError("the market says: auth_error")
        for _ in range(250):
            at.clock.now += 15.0
            at.rentals.money.drains.asked()
            at.daemon.step()
        order = at.daemon.answer({"op": "drain", "driver": "sweep"})
        assert "the market refuses the key" in order["alerts"][0]
        assert len(at.beats) == 1, "workers end themselves"
    told = [text for text in sent if "refuses the key" in text]
    assert len(told) == 2, "once, and again after an hour"
    assert "1 workers are neither watched nor can they be destroyed" in told[0]
    assert "ALERT key: the market refuses the key" in caplog.text


def test_what_is_not_for_the_autoscaler_keeps_no_worker(tmp_path: Path) -> None:
    """A driver that asks on while Ray hangs, or a person who looks, stands for no autoscaler."""
    with watching(tmp_path, cap=50.0) as at:
        at.daemon.answer({"op": "create", "node_type": "w", "request": "a"})
        for _ in range(4 * 20):
            at.clock.now += 15.0
            for asked in ("drain", "bill", "status"):
                at.daemon.answer({"op": asked, "driver": "sweep"})
            at.daemon.step()
        assert at.market.rented == {}


def test_a_bill_has_the_times_of_the_head_s_own_clock(tmp_path: Path) -> None:
    """By which drivers write when an attempt was on a machine; here it is days off."""
    with watching(tmp_path, cap=50.0) as at:
        node = at.rentals.create("w", "a")
        at.clock.now += 600.0
        at.rentals.money.drains.asked()
        at.daemon.step()
        at.rentals.destroy(node.contract, "asked for")
        bill = Bill.from_values(at.daemon.answer({"op": "bill"}))
        (machine,) = bill.machines
        now = time.time()
        assert machine.ended_at is not None
        assert (bill.at, machine.until, machine.ended_at) == pytest.approx((now,) * 3, abs=60.0)
        assert machine.until - machine.since == pytest.approx(600.0, abs=60.0)


def test_reasons_that_differ_in_numbers_are_one_line() -> None:
    assert kind_of("unknown for 121 s, and its link") == kind_of(
        "unknown for 1,355.5 s, and its link"
    )
    assert kind_of("outbid") == "outbid"


def test_workers_are_told_that_they_are_watched_only_while_they_are() -> None:
    assert may_feed(None, unseen_s=1e9)
    assert may_feed(LedgerUnwritableError("full"), unseen_s=1e9)
    assert may_feed(UnreachableError("down"), unseen_s=299.0)
    assert not may_feed(UnreachableError("down"), unseen_s=300.0)
    assert not may_feed(WrongKeyError("revoked"), unseen_s=1.0)
    assert not may_feed(AssertionError("a bug"), unseen_s=1.0)


def test_a_driver_hears_of_the_drain_and_of_the_alert(tmp_path: Path) -> None:
    with watching(tmp_path, cap=2.0) as at:
        at.rentals.create("w", "a")
        asked = {"op": "drain", "driver": "sweep"}
        order = at.daemon.answer(asked)
        for _ in range(1_000):
            if order["phase"]:
                break
            at.clock.now += 15.0
            at.daemon.answer({"op": "list"})
            at.daemon.step()
            order = at.daemon.answer(asked)
        assert (order["phase"], order["number"]) == ("saving", 1)
        # The clock of the daemon is the market's, and not this machine's.
        assert 0.0 < order["seconds_left"] <= 180.0
        assert "of the cap of $2.00 is spent" in order["reason"]
        assert order["alerts"] == (f"all workers are being ended: {order['reason']}",)
        assert at.daemon.answer({"op": "drained", "driver": "sweep", "number": 1}) is None
        at.daemon.step()
        at.daemon.step()
        assert at.market.rented == {}
        assert at.daemon.answer(asked)["phase"] == "ended"
        assert at.daemon.answer({"op": "status"})["stage"] == "closed"
