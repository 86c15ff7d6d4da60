"""The daemon as a process: who may ask what, and what is left when it is killed."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.cloud.daemon.daemons import ROOT, DaemonProcess, in_background, rented, until
from tests.tune_app.cloud.vast.fake_vast import FakeVast, Fault
from tune_app.cloud.daemon.client import DaemonClient
from tune_app.cloud.daemon.protocol import DaemonError
from tune_app.cloud.errors import (
    BudgetError,
    ClosedError,
    CloudError,
    InFlightError,
    NoOfferError,
    UncertainError,
    UnknownInstanceError,
)
from tune_app.cloud.renting.workers import Node


def test_rents_lists_and_destroys_for_who_asks(
    build: Callable[..., DaemonProcess], fake: FakeVast
) -> None:
    daemon = build().start()
    client = daemon.client
    node = client.create("worker", "a")
    assert client.create("worker", "a").contract == node.contract
    until(lambda: [item.status for item in client.nodes()] == ["running"])
    status = client.status()
    assert (status.cluster, status.stage, status.trouble) == ("mine", "open", "")
    assert status.per_hour > 0.2
    order = client.drain("a sweep")
    assert (order.wanted, order.number, order.alerts) == (False, 0, ())
    client.drained("a sweep", order.number)
    assert client.destroy(node.contract)
    assert client.nodes() == []
    assert fake.alive() == []
    assert client.status().ended == {"asked for": 1}
    bill = client.bill()
    (machine,) = bill.machines
    assert (machine.contract, machine.worker, machine.ended_by) == (node.contract, 2, "asked for")
    assert (bill.cap, bill.per_hour) == (50, 0)
    assert bill.total == pytest.approx(machine.dollars, abs=1e-9)
    with pytest.raises(UnknownInstanceError):
        client.destroy(node.contract + 1)
    with pytest.raises(ValueError, match="unknown node type 'head'"):
        client.create("head", "b")
    with pytest.raises(ValueError, match="request's id"):
        client.create("worker", "a/b")
    assert daemon.end() == 0
    assert not daemon.socket.exists()


def test_a_head_whose_clock_is_a_day_ahead_counts_by_the_markets(
    build: Callable[..., DaemonProcess], fake: FakeVast
) -> None:
    fake.clock = lambda: time.time() - 86_400.0
    daemon = build().start()
    node = daemon.client.create("worker", "a")
    assert node.since == pytest.approx(fake.clock(), abs=60.0)
    for _ in range(2):
        until(lambda: [item.status for item in daemon.client.nodes()] == ["running"])
        assert fake.billed() <= daemon.client.status().spent < 0.1, "not for a day"
        daemon.kill()
        daemon.start()
    head = daemon.client.status().head
    assert [item.label.rpartition("/")[2] for item in fake.alive()] == [head]
    assert daemon.end() == 0


def test_a_request_in_flight_is_refused_and_an_answer_never_waits_for_long(
    build: Callable[..., DaemonProcess], fake: FakeVast
) -> None:
    daemon = build(patience={"http": 0.3, "create": 1.5, "look": 0.5}).start()
    fake.load_s = 3_600.0
    assert daemon.client.create("worker", "loading").status == ""
    fake.fail("create", Fault.SILENCE)
    started = time.monotonic()
    with pytest.raises(UncertainError, match="is looked for"):
        daemon.client.create("worker", "silent")
    with pytest.raises(InFlightError):
        daemon.client.create("worker", "silent")
    assert time.monotonic() - started < 2.0


def test_even_a_search_that_hangs_is_answered_in_time(
    build: Callable[..., DaemonProcess], fake: FakeVast
) -> None:
    daemon = build(patience={"http": 0.8, "create": 1.5, "look": 0.5}).start()
    fake.fail("search", Fault.SILENCE, Fault.SILENCE)
    with pytest.raises(UncertainError, match=r"not answered after 1\.5 s"):
        daemon.client.create("worker", "a")
    with pytest.raises(InFlightError):
        daemon.client.create("worker", "a")
    until(lambda: "no complete answer" in str(daemon.client.status().failures))
    until(lambda: rented(daemon, "a"))


def test_a_failed_or_odd_list_is_an_error_and_never_no_nodes(
    build: Callable[..., DaemonProcess], fake: FakeVast
) -> None:
    daemon = build(patience={"poll": 600}).start()
    daemon.client.create("worker", "a")
    for fault in (Fault.REFUSED_500, Fault.CUT_OFF, Fault.NO_LIST, Fault.UNSUCCESSFUL):
        time.sleep(0.06)
        fake.fail("list", fault, fault)
        with pytest.raises(CloudError):
            daemon.client.nodes()
        fake.mend()
    time.sleep(0.06)
    assert len(daemon.client.nodes()) == 1


def test_the_cap_and_the_caps_refuse_over_the_socket(
    build: Callable[..., DaemonProcess], fake: FakeVast
) -> None:
    daemon = build(cap_dollars=0.1).start()
    with pytest.raises(BudgetError, match="raise the cap"):
        daemon.client.create("worker", "a")
    for item in fake.offers.values():
        item["min_bid"] = 2.0
    daemon.end()
    daemon = build(cap_dollars=50).start()
    with pytest.raises(NoOfferError, match="raise max_dollars_per_hour to"):
        daemon.client.create("worker", "b")
    assert fake.calls["create"] == 0


def test_who_comes_second_is_refused(build: Callable[..., DaemonProcess], tmp_path: Path) -> None:
    first = build().start()
    second = build()
    second.socket = first.socket
    second.start(wait=False)
    assert second.process is not None
    assert second.process.wait(20) == 2
    assert "another cloud daemon works in" in second.log
    assert first.client.status().cluster == "mine", "the socket is still the first one's"


@pytest.mark.parametrize(
    ("key", "said"), [("wrong", "the key is wrong"), ("", "no key on standard input")]
)
def test_a_missing_or_wrong_key_ends_it_at_once(
    build: Callable[..., DaemonProcess], key: str, said: str
) -> None:
    daemon = build()
    daemon.start(wait=False, key=key)
    assert daemon.process is not None
    assert daemon.process.wait(20) == 2
    assert said in daemon.log
    assert "Traceback" not in daemon.log


def test_the_key_is_in_no_file_and_no_process_list(
    build: Callable[..., DaemonProcess], tmp_path: Path
) -> None:
    daemon = build().start()
    daemon.client.create("worker", "a")
    assert daemon.process is not None
    process = Path("/proc") / str(daemon.process.pid)
    if process.exists():
        for name in ("cmdline", "environ"):
            assert daemon.key.encode() not in (process / name).read_bytes()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert daemon.key.encode() not in path.read_bytes(), path
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) & 0o077 == 0


def test_a_group_may_be_let_in(build: Callable[..., DaemonProcess]) -> None:
    grp = pytest.importorskip("grp")
    import os

    daemon = build()
    daemon.start("--group", grp.getgrgid(os.getgid()).gr_name)
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660
    daemon.end()
    daemon.start("--group", "nobody-has-this-group", wait=False)
    assert daemon.process is not None
    assert daemon.process.wait(20) == 2
    assert "there is no group" in daemon.log


def raw(daemon: DaemonProcess, content: bytes) -> list[dict[str, Any]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(str(daemon.socket))
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
        except BrokenPipeError:
            pass
        with connection.makefile("rb") as reader:
            received = reader.read()
    return [json.loads(line) for line in received.splitlines()]


def test_what_is_no_request_is_answered_as_such(build: Callable[..., DaemonProcess]) -> None:
    daemon = build().start()
    for content, said in (
        (b"hello\n", "not JSON"),
        (b"[1]\n", "not an object"),
        (b'{"op": "stat', "cut off"),
        (b"{" * 16_384, "over 16,384 bytes"),
        (b"[" * 10_000 + b"\n", "not JSON"),
        (b'{"op": "rent-everything"}\n', "unknown operation 'rent-everything'"),
        (b'{"op": ["list"]}\n', "unknown operation"),
        (b'{"op": "destroy", "contract": "1", "reason": "x"}\n', "a whole number is expected"),
        (b'{"op": "create", "node_type": 1}\n', "a text is expected"),
    ):
        (answer,) = raw(daemon, content)
        assert (answer["ok"], answer["error"]) == (False, "ValueError")
        assert said in answer["message"]
    assert [item["ok"] for item in raw(daemon, b'{"op":"status"}\n{"op":"list"}\n')] == [True, True]


def test_more_connections_than_allowed_do_not_stop_it(
    build: Callable[..., DaemonProcess],
) -> None:
    daemon = build().start()
    idle = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(60)]
    for connection in idle:
        connection.connect(str(daemon.socket))
    for connection in idle:
        connection.close()
    until(daemon.answers)


def test_a_daemon_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(DaemonError, match="systemctl status"):
        DaemonClient(tmp_path / "s").nodes()


def test_the_command_line_shows_and_reaps(
    build: Callable[..., DaemonProcess], fake: FakeVast
) -> None:
    daemon = build().start()
    nodes: list[Node] = [daemon.client.create("worker", name) for name in "ab"]
    shown = command(daemon, "status")
    assert shown.returncode == 0
    assert all(str(node.contract) in shown.stdout for node in nodes)
    assert "of $50.00" in shown.stdout
    reaped = command(daemon, "reap", "--apart", "0.1")
    assert (reaped.returncode, reaped.stderr) == (0, "")
    assert "no machine is rented" in reaped.stdout
    assert fake.alive() == []
    with pytest.raises(ClosedError):
        daemon.client.create("worker", "c")
    assert command(daemon, "open").returncode == 0
    assert daemon.client.create("worker", "c").contract
    fake.fail("destroy", *([Fault.REFUSED_500] * 500))
    left = command(daemon, "reap", "--apart", "0.1", "--within", "1")
    assert left.returncode == 1
    assert "still exist" in left.stdout
    fake.mend()
    until(lambda: fake.alive() == [])
    assert command(daemon, "open").returncode == 0
    fake.late_s = 1.0
    fake.fail("create", Fault.APPEARS_LATE)
    asking = in_background(lambda: daemon.client.create("worker", "late"))
    until(lambda: len(fake.instances) == 4)
    reaped = command(daemon, "reap", "--apart", "0.1")
    assert reaped.returncode == 0
    asking.join()
    assert fake.alive() == [], "who was under way was waited for"
    daemon.end()
    gone = command(daemon, "status")
    assert gone.returncode == 2
    assert "systemctl status" in gone.stderr


def command(daemon: DaemonProcess, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tune_app.cloud", *words, "--socket", str(daemon.socket)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"COLUMNS": "160", "PATH": ""},
    )
