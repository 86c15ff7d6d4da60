"""126 workers on a virtual clock: calls, launches a minute, and what the daemon needs for them.

python -m tests.tune_app.cloud.renting.scale
"""

from __future__ import annotations

import json
import math
import resource
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.renting.test_rented_machines import House
from tests.tune_app.cloud.vast.fake_vast import PAGE, FakeVast, offer
from tune_app.cloud.daemon.protocol import node_message
from tune_app.cloud.errors import CloudError, LaunchError

WORKERS = 126
"""Numbers 2 to 127: a node's block of ports begins at 20,000 + 100 k, below 32,768."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a cluster of so many workers takes."""

    workers: int
    rented_in_s: float
    """On the virtual clock, the API's limits kept."""
    watched_calls: Counter[str]
    """Of ten minutes in which nothing happens, by endpoint."""
    refused: int
    """Calls that the API found too fast, in all of it."""
    step_cpu_s: float
    """Of one step of the daemon, the API's own time included."""
    list_bytes: int
    """Of the daemon's answer to one question for the list."""
    grown_mib: float
    """By how much the process's memory grew, the API's included."""
    ended_in_s: float
    """On the virtual clock."""


def measured(folder: Path, workers: int = WORKERS) -> Figures:
    """Rents, watches for ten minutes and ends so many workers."""
    clock = Clock()
    offers = [offer(number, min_bid=0.2 + number / 10_000) for number in range(1, workers + 30)]
    before = _memory_mib()
    with FakeVast(offers, clock=clock, limits=True, credit=10_000.0) as fake:
        answers = Counter[int]()
        answer = fake.answer

        def counted(*asked: Any) -> tuple[int, Any]:
            status, said = answer(*asked)
            answers[status] += 1
            return status, said

        fake.answer = counted  # type: ignore[method-assign]
        house = House(folder, fake, clock, cap_dollars=1_000.0, max_instances=workers)
        house.ledger._connection.execute("PRAGMA synchronous = OFF")
        try:
            started = clock.now
            while len(fake.alive()) < workers:
                for number in range(workers):
                    with suppress(LaunchError, CloudError):
                        house.create(f"w{number}")
                house.steps(15)
            rented_in_s = clock.now - started
            house.steps(60)
            calls, cpu = Counter(fake.calls), time.process_time()
            house.steps(600)
            cpu = time.process_time() - cpu
            watched = Counter(fake.calls)
            watched.subtract(calls)
            listed = json.dumps([node_message(node) for node in house.rentals.nodes()])
            started = clock.now
            while house.rentals.destroy_all("the end"):
                clock.now += 15.0
            return Figures(
                workers=workers,
                rented_in_s=rented_in_s,
                watched_calls=+watched,
                refused=answers[429],
                step_cpu_s=cpu / (watched["list"] / math.ceil(workers / PAGE)),
                list_bytes=len(listed),
                grown_mib=_memory_mib() - before,
                ended_in_s=clock.now - started,
            )
        finally:
            house.close()


def _memory_mib() -> float:
    """The most that this process had until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder))
    for name, value in vars(found).items():
        sys.stdout.write(f"{name:14} {value}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
