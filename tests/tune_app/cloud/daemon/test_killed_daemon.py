"""A daemon that is killed at any moment: the next one rents nothing twice and forgets nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.tune_app.cloud.daemon.daemons import DaemonProcess, in_background, rented, until
from tests.tune_app.cloud.vast.fake_vast import FakeVast, Fault


@pytest.mark.parametrize(
    ("endpoint", "fault", "creates"),
    [
        ("search", Fault.SILENCE, 1),
        ("create", Fault.SILENCE, 2),
        ("create", Fault.CREATED_THEN_SILENCE, 1),
    ],
)
def test_killed_between_a_call_and_its_answer_nothing_is_rented_twice_or_forgotten(
    build: Callable[..., DaemonProcess],
    fake: FakeVast,
    endpoint: str,
    fault: Fault,
    creates: int,
) -> None:
    daemon = build().start()
    fake.fail(endpoint, fault)
    asking = in_background(lambda: daemon.client.create("worker", "a"))
    until(lambda: fake.calls[endpoint] == 1)
    daemon.kill()
    asking.join(10)
    assert len(fake.alive()) == (fault is Fault.CREATED_THEN_SILENCE)
    daemon.start()
    until(lambda: rented(daemon, "a"))
    (node,) = daemon.client.nodes()
    assert [item.id for item in fake.alive()] == [node.contract]
    assert fake.calls["create"] == creates
    assert daemon.client.status().in_flight == ()


def test_killed_at_any_moment_each_request_has_one_worker(
    build: Callable[..., DaemonProcess], fake: FakeVast
) -> None:
    daemon = build(max_instances=20).start()
    for number, pause in enumerate((0.0, 0.01, 0.02, 0.03)):
        request = f"r{number}"
        asking = in_background(lambda name=request: daemon.client.create("worker", name))  # type: ignore[misc]
        time.sleep(pause)
        daemon.kill()
        asking.join(10)
        daemon.start()

    until(lambda: all(rented(daemon, f"r{number}") for number in range(4)), why=lambda: daemon.log)
    nodes = daemon.client.nodes()
    assert sorted(node.request for node in nodes) == [f"r{number}" for number in range(4)]
    assert sorted(item.id for item in fake.alive()) == sorted(node.contract for node in nodes)
    assert len({node.k for node in nodes}) == 4


def test_killed_while_it_destroys_it_goes_on_destroying(
    build: Callable[..., DaemonProcess], fake: FakeVast
) -> None:
    daemon = build(patience={"poll": 600}).start()
    until(lambda: daemon.client.status().looked_at is not None)  # the next look is far away
    node = daemon.client.create("worker", "a")
    fake.fail("destroy", Fault.SILENCE)
    asking = in_background(lambda: daemon.client.destroy(node.contract))
    until(lambda: fake.calls["destroy"] == 1)
    daemon.kill()
    asking.join(10)
    assert len(fake.alive()) == 1
    daemon.start()
    until(lambda: fake.alive() == [])
