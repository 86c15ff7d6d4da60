"""What a process was lost to, as its error and its node tell."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    OutOfMemoryError,
    RayTaskError,
)

from tune_app.journal.records import FailureClass
from tune_app.on_ray import lost_processes as losses
from tune_app.on_ray.lost_processes import Pulse, Seen, diagnose, look

PULSE = Pulse(host="worker/abcdef12", process=4_711, tokens=5_000, oom_kills=1)
DEAD = Seen(lives=False, oom_kills=1)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """The port of a node that lives."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def node(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Ray believes of the node; a test may change it."""
    address, port = listener.getsockname()
    known = {"NodeID": "abcdef1234", "NodeManagerAddress": address, "NodeManagerPort": port}
    monkeypatch.setattr(losses, "_node", lambda host: known)
    monkeypatch.setattr(losses, "_look_on", lambda node, process: DEAD)
    return known


def test_a_process_that_died_on_a_living_node_has_no_known_cause(node: dict[str, Any]) -> None:
    loss = diagnose(ActorDiedError(), PULSE)
    assert (loss.kind, loss.cause) == (FailureClass.HOST, "")
    assert loss.reason.startswith("ActorDiedError: ")


def test_a_node_that_ray_knows_to_be_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_node", lambda host: None)
    loss = diagnose(ActorDiedError(), PULSE)
    assert (loss.kind, loss.cause) == (FailureClass.HOST, "its node died")


def test_a_dead_node_is_known_by_its_port_before_ray_declares_it_dead(
    node: dict[str, Any], listener: socket.socket
) -> None:
    listener.close()
    loss = diagnose(ActorUnavailableError("gone", actor_id=None), PULSE)
    assert (loss.kind, loss.cause) == (FailureClass.HOST, "its node died")


def test_a_cut_link_to_a_living_process_is_the_networks(
    node: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray raises the same error where the process was killed and its node lives.
    error = ActorUnavailableError("gone", actor_id=None)
    assert diagnose(error, PULSE).kind is FailureClass.HOST
    alive = Seen(lives=True, oom_kills=1)
    monkeypatch.setattr(losses, "_look_on", lambda node, process: alive)
    loss = diagnose(ActorUnavailableError("gone", actor_id=None), PULSE)
    assert loss.kind is FailureClass.NETWORK
    assert "the connection to it was lost" in loss.cause


def test_a_kill_that_the_cgroup_counted_is_one_for_want_of_memory(
    node: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = Seen(lives=False, oom_kills=2)
    monkeypatch.setattr(losses, "_look_on", lambda node, process: killed)
    loss = diagnose(ActorDiedError(), PULSE)
    assert loss.kind is FailureClass.MEMORY
    assert "cgroup" in loss.cause


def test_a_kill_by_rays_memory_monitor_is_one_too(node: dict[str, Any]) -> None:
    assert diagnose(OutOfMemoryError("killed"), PULSE).kind is FailureClass.MEMORY


def test_a_node_that_was_taken_back_is_the_hosts(node: dict[str, Any]) -> None:
    error = ActorDiedError()
    error._preempted = True
    loss = diagnose(error, PULSE)
    assert (loss.kind, loss.cause) == (FailureClass.HOST, "its node was preempted")


def test_a_process_that_cannot_be_set_up_is_the_codes(node: dict[str, Any]) -> None:
    traceback = "\x1b[36mray::Trainable.__init__()\x1b[39m\nModuleNotFoundError: No module 'x'\n"
    error = ActorDiedError(RayTaskError("__init__", traceback, ModuleNotFoundError("x")))
    loss = diagnose(error, Pulse())
    assert loss.kind is FailureClass.CODE
    assert loss.reason == "ModuleNotFoundError: No module 'x'"


def test_a_process_that_never_reported_has_no_known_cause() -> None:
    loss = diagnose(None, Pulse(tokens=5_000))
    assert (loss.kind, loss.cause) == (FailureClass.HOST, "")
    assert loss.reason == "the process was lost"


def test_a_host_knows_its_own_processes() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert look(process.pid).lives
    process.kill()
    process.wait()
    assert not look(process.pid).lives
