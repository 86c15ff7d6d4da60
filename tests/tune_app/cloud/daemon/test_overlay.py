"""The daemon with the overlay, as a process: sockets at workers' addresses stand for links."""

from __future__ import annotations

import json
import os
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.cloud.daemon.daemons import DaemonProcess, until
from tests.tune_app.cloud.vast.fake_vast import FakeVast, offer
from tests.tune_app.stores.servers import free_port
from tune_app.cloud.overlay.addresses import Ports, address
from tune_app.cloud.overlay.authorized import AuthorizedKeys
from tune_app.cloud.overlay.heartbeat import Heartbeat

NETWORK = f"127.{160 + os.getpid() // 250 % 50}.{os.getpid() % 250}"


class _Greets(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"SSH-")


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class Listening:
    """Somebody listens at an address of the head's, and answers."""

    def __init__(self, *where: tuple[str, int]) -> None:
        self._servers = [_Server(one, _Greets) for one in where]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()

    def close(self) -> None:
        for server in self._servers:
            server.server_close()
            server.shutdown()


def link(k: int) -> Listening:
    """Worker k's, as far as the daemon sees it."""
    where, ports = address(k, NETWORK), Ports(k)
    return Listening((where, ports.node_manager), (where, ports.sshd))


class Cluster:
    """A daemon with an overlay, and the links that the test opens."""

    def __init__(self, folder: Path, fake: FakeVast, **settings: Any) -> None:
        self.fake = fake
        port = free_port()
        self.server = Listening(("127.0.0.1", port))
        self.overlay = folder / "overlay.json"
        self.keys = folder / "overlay"
        patience = {"closed": 0.6, "look": 0.05, "answer": 0.5}
        told = {"head": "127.0.0.1", "port": port, "network": NETWORK, "patience": patience}
        self.overlay.write_text(json.dumps(told), "utf-8")
        self.daemon = DaemonProcess(folder, fake, **settings)
        self.links: dict[int, Listening] = {}

    def start(self) -> None:
        self.daemon.start("--overlay", str(self.overlay), "--overlay-folder", str(self.keys))

    def worker(self, request: str) -> int:
        """The number of a new worker whose link is open and seen."""
        k = self.daemon.client.create("worker", request).k
        self.open(k)
        until(lambda: all(node.status == "running" for node in self.daemon.client.nodes()))
        return k

    def open(self, *workers: int) -> None:
        """Returns when the daemon has seen them."""
        said = {k: self.daemon.log.count(f"worker {k}'s link: open") for k in workers}
        self.links |= {k: link(k) for k in workers}
        for k in workers:
            until(lambda k=k: self.daemon.log.count(f"worker {k}'s link: open") > said[k])  # type: ignore[misc]

    def close(self, *workers: int) -> None:
        for k in workers:
            self.links.pop(k).close()

    def alive(self) -> set[int]:
        """Numbers of the workers that exist."""
        return {int(item.label.split("/")[3]) for item in self.fake.alive()}

    def let_in(self) -> set[int]:
        return AuthorizedKeys(self.keys / "authorized" / "stellux-link").workers()

    def stop(self) -> None:
        self.close(*self.links)
        self.server.close()
        if self.daemon.process is not None and self.daemon.process.poll() is None:
            self.daemon.kill()


@pytest.fixture
def fake() -> Iterator[FakeVast]:
    with FakeVast([offer(i, min_bid=0.20 + i / 1000) for i in range(1, 9)]) as server:
        yield server


@pytest.fixture
def build(tmp_path: Path, fake: FakeVast) -> Iterator[Callable[..., Cluster]]:
    if not Path("/proc/net/tcp").exists():
        pytest.skip("no /proc/net/tcp: links are seen on Linux alone")
    with ExitStack() as stack:

        def build(**settings: Any) -> Cluster:
            cluster = Cluster(tmp_path, fake, **settings)
            stack.callback(cluster.stop)
            return cluster

        yield build


def test_who_loses_its_link_is_ended_and_its_keys_with_it(build: Callable[..., Cluster]) -> None:
    cluster = build()
    cluster.start()
    first, second = cluster.worker("a"), cluster.worker("b")
    assert cluster.let_in() == {first, second}
    assert "INFO: listening at" in cluster.daemon.log
    sign = Heartbeat(path=cluster.daemon.socket.with_name("heartbeat"))
    until(lambda: sign.age_s() is not None, why=lambda: cluster.daemon.log)
    before = sign.path.stat().st_mtime_ns
    until(lambda: sign.path.stat().st_mtime_ns > before)
    cluster.close(first)
    until(lambda: cluster.alive() == {second}, seconds=10, why=lambda: cluster.daemon.log)
    until(lambda: cluster.let_in() == {second}, seconds=10)
    until(lambda: "its link is closed for" in str(cluster.daemon.client.status().ended))
    cluster.close(second)
    until(lambda: cluster.alive() == set(), seconds=10, why=lambda: cluster.daemon.log)
    assert cluster.daemon.end() == 0


def test_links_that_close_together_are_the_heads_fault(build: Callable[..., Cluster]) -> None:
    cluster = build()
    cluster.start()
    both = {cluster.worker("a"), cluster.worker("b")}
    cluster.close(*both)
    until(lambda: cluster.daemon.log.count("all 2 links closed within") == 2)
    time.sleep(1.5)  # well over what one alone is allowed
    assert cluster.alive() == both
    cluster.open(*both)
    gone = min(both)
    cluster.close(gone)
    until(lambda: cluster.alive() == both - {gone}, seconds=10, why=lambda: cluster.daemon.log)


def test_a_worker_whose_link_never_opens_is_ended_and_its_machine_avoided(
    build: Callable[..., Cluster],
) -> None:
    cluster = build(patience={"loading": 3.0})
    cluster.start()
    opened = cluster.worker("a")
    node = cluster.daemon.client.create("worker", "b")
    until(lambda: len(cluster.daemon.client.nodes()) == 2)
    until(lambda: cluster.alive() == {opened}, seconds=10, why=lambda: cluster.daemon.log)
    avoided = cluster.daemon.client.status().avoided
    assert list(avoided) == [str(node.machine)]
    assert "but its link is not open for" in avoided[str(node.machine)]


def test_a_link_that_closed_while_no_daemon_watched_is_missed_all_the_same(
    build: Callable[..., Cluster],
) -> None:
    cluster = build(patience={"loading": 3.0})
    cluster.start()
    first, second = cluster.worker("a"), cluster.worker("b")
    cluster.daemon.kill()
    cluster.close(first)
    cluster.start()
    until(lambda: cluster.alive() == {second}, seconds=10, why=lambda: cluster.daemon.log)
    until(lambda: "but its link is not open for" in str(cluster.daemon.client.status().ended))
    time.sleep(0.5)
    assert cluster.alive() == {second}


@pytest.mark.parametrize(
    ("settings", "arguments", "said"),
    [
        ({}, ("--overlay", "overlay.json"), "belong together; give both"),
        ({"max_instances": 17}, (), "2 to 17, too few for 17 instances; raise last_k"),
    ],
)
def test_what_does_not_go_together_is_refused(
    build: Callable[..., Cluster],
    settings: dict[str, Any],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    cluster = build(**settings)
    both = ("--overlay", str(cluster.overlay), "--overlay-folder", str(cluster.keys))
    cluster.daemon.start(*(arguments or both), wait=False)
    assert cluster.daemon.process is not None
    assert cluster.daemon.process.wait(20) == 2
    assert said in cluster.daemon.log
    assert "Traceback" not in cluster.daemon.log
