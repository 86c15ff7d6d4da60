"""A sweep on the cluster while hosts are outbid, links stall and break, driver and head die."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.comparisons import differing_curves, duplicates, unfinished
from tests.chaos.workspace import Size
from tests.cluster.lab import why_not
from tests.cluster.machine import Machine
from tests.cluster.stage import Stage, stage
from tests.cluster.sweeps import SmallSweep

pytestmark = pytest.mark.cluster

STALL_S = 60.0


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Stage]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with stage() as made:
        try:
            yield made
        finally:
            made.save_logs(tmp_path / "logs")
        assert made.instances.failed == []
    assert made.lab.leftovers() == []


def end(machine: Machine, is_it: Callable[[str], bool]) -> None:
    """SIGKILL to the processes in the machine whose command is it."""
    found = [pid for pid, command in machine.processes().items() if is_it(command)]
    assert found, machine.processes()
    for pid in found:
        os.kill(pid, signal.SIGKILL)


def test_every_cell_is_trained_as_if_nothing_had_happened(at: Stage, tmp_path: Path) -> None:
    size = Size(tokens=400_000, seeds=2, expansions=(2.0, 2.66, 3.0))
    sweep = SmallSweep(stage=at, size=size)
    at.at_laptop("ray", "up", "-y", "/root/cluster.yaml")
    sweep.send()
    sweep.start(tmp_path / "session.log")

    def trains_on(tokens: int) -> None:
        """Returns when that much more was trained, on two workers."""
        goal = sweep.tokens() + tokens
        at.wait_for(lambda: len(at.ray_workers()) == 2, within_s=300, what="two workers")
        at.wait_for(
            lambda: sweep.tokens() >= goal or not sweep.running(), within_s=300, what=sweep.log()
        )
        assert sweep.running(), sweep.log()

    trains_on(150_000)
    outbid = min(at.instances.machines)
    at.vast.outbid(outbid)
    at.wait_for(lambda: outbid not in at.instances.machines, within_s=20)
    trains_on(100_000)

    stalled = at.ray_workers()[0]
    at.lab.drop_packets(stalled, True)
    time.sleep(STALL_S)
    at.lab.drop_packets(stalled, False)
    trains_on(100_000)
    assert stalled in at.instances.machines.values()  # its link stalled, and nothing was lost

    end(at.ray_workers()[1], lambda command: command.startswith("ssh -F config -N head"))
    trains_on(100_000)

    end(at.head, lambda command: "-m tune_app.sweep" in command)
    trains_on(100_000)

    at.reboot_head()
    at.wait_for(lambda: not sweep.running(), within_s=600, every_s=3.0, what=sweep.log())

    with sweep.journal(tmp_path / "journal") as journal:
        assert unfinished(journal.cells()) == [], sweep.log()
        seen = journal.observations()
        assert duplicates(seen) == []
    contracts = set(at.vast.instances)
    status = at.status()
    known = {node.contract for node in status.nodes}
    assert len(contracts) == len(known) + sum(status.ended.values()), status
    at.at_laptop("ray", "down", "-y", "/root/cluster.yaml")
    assert at.vast.alive() == []
    sweep.run_undisturbed()
    with sweep.journal(tmp_path / "alone", "alone") as undisturbed:
        assert differing_curves(seen, undisturbed.observations()) == []
