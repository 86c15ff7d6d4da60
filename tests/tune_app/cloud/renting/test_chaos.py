"""Everything goes wrong for a while: in the end each request has one worker, nothing else is."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest

from tests.tune_app.cloud.daemon.daemons import DaemonProcess, until
from tests.tune_app.cloud.vast.fake_vast import FakeVast, Fault, offer
from tune_app.cloud.ledger.file import ledger_path
from tune_app.cloud.ledger.ledger import Ledger

REQUESTS = [f"q{number}" for number in range(6)]
FAULTS = {
    "create": [
        Fault.CREATED_THEN_500,
        Fault.CREATED_THEN_SILENCE,
        Fault.REFUSED_500,
        Fault.SILENCE,
        Fault.WRONG_PRICE,
        Fault.ON_DEMAND,
        Fault.APPEARS_LATE,
        Fault.HTML,
        Fault.CUT_OFF,
        Fault.UNSUCCESSFUL,
        Fault.UNAVAILABLE,
    ],
    "list": [
        Fault.HTML,
        Fault.CUT_OFF,
        Fault.NO_LIST,
        Fault.ODD_ITEM,
        Fault.UNSUCCESSFUL,
        Fault.EMPTY,
        Fault.SHORT,
        Fault.REFUSED_500,
    ],
    "destroy": [Fault.REFUSED_500, Fault.SILENCE, Fault.UNSUCCESSFUL],
    "show": [Fault.HTML, Fault.REFUSED_500],
}
PATIENCE = {"http": 0.5, "look": 0.5, "create": 3.0, "settle": 1.5, "poll": 0.2, "avoid": 1.0}


def disturb(daemon: DaemonProcess, fake: FakeVast, chance: random.Random, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        rented = fake.alive()
        what = chance.choice([*FAULTS, "create", "outbid", "outbid", "ended", "killed"])
        if what in FAULTS:
            fake.fail(what, chance.choice(FAULTS[what]))
        elif what == "killed":
            daemon.kill()
            daemon.start()
        elif rented and what == "outbid":
            fake.outbid(chance.choice(rented).id)
        elif rented:
            try:
                daemon.client.destroy(chance.choice(rented).id)
            except (OSError, ValueError):
                continue
        time.sleep(chance.random() * 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_happens_nothing_is_rented_twice_or_forgotten(tmp_path: Path, seed: int) -> None:
    offers = [offer(number, machine_id=number) for number in range(1, 400)]
    ended = threading.Event()
    with FakeVast(offers, late_s=1.0) as fake:
        daemon = DaemonProcess(
            tmp_path, fake, max_instances=30, cap_dollars=1_000, patience=PATIENCE
        ).start()

        def ask(request: str) -> None:
            while not ended.wait(0.15):
                try:
                    daemon.client.create("worker", request)
                except OSError:
                    continue

        def settled() -> bool:
            try:
                nodes, status = daemon.client.nodes(), daemon.client.status()
            except OSError:
                return False
            rented = sorted(instance.id for instance in fake.alive())
            return (
                sorted(node.request for node in nodes) == REQUESTS
                and sorted(node.contract for node in nodes) == rented
                and not status.in_flight
                and not status.being_destroyed
            )

        askers = [threading.Thread(target=ask, args=(request,)) for request in REQUESTS]
        for asker in askers:
            asker.start()
        try:
            disturb(daemon, fake, random.Random(seed), 20.0)
            fake.mend()
            until(settled, seconds=60, why=lambda: daemon.log)
        finally:
            ended.set()
            for asker in askers:
                asker.join()
        assert "a defect" not in daemon.log
        billed = sum(instance.dollars for instance in fake.instances.values())
        assert daemon.client.status().spent >= billed
        daemon.client.destroy_all("the end")
        until(lambda: fake.alive() == [], seconds=30)
        assert daemon.end() == 0
    with Ledger.open(ledger_path(tmp_path / "state", "mine"), cluster="mine", slots=()) as ledger:
        assert ledger.live() == []
        assert all(ledger.k_of(rental.contract) is None for rental in ledger.rentals())
