"""Bells: who rings has its own link ended, and hears when that is done."""

from __future__ import annotations

import getpass
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.tune_app.cloud.overlay.loopback_overlay import echo, until
from tests.tune_app.stores.servers import free_port
from tune_app.cloud.overlay.addresses import HEAD, Ports, address
from tune_app.cloud.overlay.heartbeat import Heartbeat
from tune_app.cloud.overlay.keeper import MODULE, Keeper
from tune_app.cloud.overlay.settings import OverlaySettings

ROOT = Path(__file__).parents[4]


def own_settings() -> OverlaySettings:
    """In a network that tests which run at once do not share."""
    pid = os.getpid()
    network = f"127.{150 + pid // 250 % 50}.{pid % 250}"
    return OverlaySettings(head="127.0.0.1", network=network, last_k=4, port=free_port())


def ring(settings: OverlaySettings, k: int) -> bytes:
    """What worker k's bell answers."""
    where = (address(1, settings.network), Ports(k).bell)
    with socket.create_connection(where, timeout=10) as connection:
        return connection.recv(10)


def pulse(settings: OverlaySettings) -> bytes:
    """What a worker's switch hears."""
    where = (address(HEAD, settings.network), Ports(HEAD).pulse)
    with socket.create_connection(where, timeout=10) as connection:
        return connection.recv(10)


@contextmanager
def keeping(keeper: Keeper) -> Iterator[None]:
    ended = threading.Event()
    thread = threading.Thread(target=keeper.run, args=[ended], kwargs={"every_s": 0.05})
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        keeper.close()


def test_who_rings_hears_ok_when_its_link_is_ended() -> None:
    settings, ended = own_settings(), list[int]()
    with keeping(Keeper(settings, end=ended.append, allowed=lambda: [2, 3, 4])):
        assert ring(settings, 3) == b"ok\n"
        assert ended == [3]
        assert [ring(settings, k) for k in (2, 4)] == [b"ok\n"] * 2
        assert ended == [3, 2, 4]


def refuse(error: OSError) -> Callable[[int], None]:
    def end(k: int) -> None:
        raise error

    return end


def test_a_bell_that_another_user_rings_is_not_heard() -> None:
    settings, ended = own_settings(), list[int]()
    keeper = Keeper(
        settings, end=ended.append, allowed=lambda: [2, 3, 4], ringer=os.getuid() + 1, age_s=int
    )
    with keeping(keeper):
        assert ring(settings, 3) == b""
        assert ended == []
        # Everybody may hear the heartbeat: it ends nothing.
        assert pulse(settings) == b"0\n"
    with keeping(Keeper(settings, end=ended.append, allowed=lambda: [2, 3, 4], ringer=os.getuid())):
        assert ring(settings, 3) == b"ok\n"
        assert pulse(settings) == b"", "no daemon has said that it is at work"


def test_who_may_not_dial_yet_does_not_hear_ok() -> None:
    settings = own_settings()
    keeper = Keeper(settings, end=refuse(PermissionError("another user's")), allowed=lambda: [2])
    with keeping(keeper):
        assert [ring(settings, 2), ring(settings, 2)] == [b"", b""]


def test_links_stay_while_nobody_knows_who_is_let_in() -> None:
    settings, ended = own_settings(), list[int]()

    def unreadable() -> list[int]:
        raise PermissionError("the keys cannot be read")

    def look(allowed: Callable[[], list[int]]) -> None:
        with closing(Keeper(settings, end=ended.append, allowed=allowed, workers=[])) as keeper:
            keeper.end_revoked()

    with echo(address(2, settings.network), Ports(2).node_manager):
        look(unreadable)
        look(lambda: [2])
        assert ended == []
        look(lambda: [3])
        assert ended == [2]


def test_a_bell_that_is_taken_leaves_none_behind() -> None:
    settings = own_settings()
    with (
        echo(address(1, settings.network), Ports(4).bell),
        pytest.raises(OSError, match="in use"),
    ):
        Keeper(settings, end=refuse(OSError()), allowed=list)
    Keeper(settings, end=refuse(OSError()), allowed=list).close()


def test_the_command_answers_until_sigterm(tmp_path: Path) -> None:
    settings = replace(own_settings(), link_user=getpass.getuser())
    (tmp_path / "overlay.json").write_text(json.dumps(asdict(settings)), "utf-8")
    sign = Heartbeat(path=tmp_path / "heartbeat")
    sign.beat()
    words = [str(tmp_path / "overlay.json"), "--folder", str(tmp_path)]
    command = [sys.executable, "-m", MODULE, *words]
    command += ["--heartbeat", str(sign.path)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        heard = list[bytes]()

        def rung() -> bool:
            try:
                heard.append(ring(settings, 2))
            except ConnectionRefusedError:
                return False
            return True

        until(rung, lambda: "no bell")
        assert heard == [b"ok\n"]
        assert pulse(settings).strip().isdigit()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=10)
        assert (process.returncode, "3 workers' bells" in said) == (0, True), said
    finally:
        process.kill()
        process.wait()
