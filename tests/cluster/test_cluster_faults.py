"""A sweep on the cluster while hosts are outbid, links stall and break, driver and head die."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.chaos.comparisons import differing_curves, duplicates, unfinished
from tests.chaos.workspace import Size
from tests.cluster.machine import Machine
from tests.cluster.stage import Stage, clean_stage
from tests.cluster.sweeps import SmallSweep
from tune_app.journal.costs import account_of

pytestmark = pytest.mark.cluster

STALL_S = 60.0


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Stage]:
    with clean_stage(tmp_path / "logs") as made:
        yield made


def end(machine: Machine, is_it: Callable[[str], bool]) -> None:
    """SIGKILL to the processes in the machine whose command is it."""
    found = [pid for pid, command in machine.processes().items() if is_it(command)]
    assert found, machine.processes()
    for pid in found:
        os.kill(pid, signal.SIGKILL)


def check_every_dollar(at: Stage, sweep: SmallSweep, copies: Path) -> None:
    """The journal's account is the ledger's, to a millionth of a dollar, whoever was lost."""
    with sweep.journal(copies) as journal:
        account, (bill,) = account_of(journal), journal.bills()
        attempts = journal.attempts()
    assert account is not None
    parts = (account.idle, account.setup, account.storage, account.bandwidth, account.head)
    charged = sum(account.cells.values()) + sum(parts) + account.outside
    assert abs(charged - bill.total) < 1e-6
    for path in at.head.path("/var/lib/stellux").rglob("ledger.sqlite3*"):
        shutil.copy(path, copies / path.name)
    with closing(sqlite3.connect(copies / "ledger.sqlite3")) as ledger:
        rows = ledger.execute("SELECT contract, estimated + unforeseen FROM instances")
        counted = dict(rows.fetchall())
    assert {one.contract for one in bill.machines} == set(counted)
    # What was lost early in the sweep is on the bill as the ledger has it still.
    lost = [one for one in bill.machines if one.ended_at is not None]
    assert lost
    assert all(abs(one.dollars - counted[one.contract]) < 1e-6 for one in lost)
    priced = [one for one in attempts if one.place.contract is not None]
    assert {one.place.contract for one in priced} <= set(counted)
    assert len(account.cells) == sweep.size.cells
    assert all(one.ended_at is not None for one in attempts)


def test_every_cell_is_trained_as_if_nothing_had_happened(at: Stage, tmp_path: Path) -> None:
    size = Size(tokens=400_000, seeds=2, expansions=(2.0, 2.66, 3.0))
    sweep = SmallSweep(stage=at, size=size)
    at.at_laptop("ray", "up", "-y", "/root/cluster.yaml")
    sweep.send()
    sweep.start(tmp_path / "session.log")

    def trains_on(tokens: int) -> None:
        """Returns when that much more was trained, on two workers."""
        goal = sweep.tokens() + tokens
        at.wait_for(lambda: len(at.ray_workers()) == 2, what="two workers")
        at.wait_for(lambda: sweep.tokens() >= goal or not sweep.running(), what=sweep.log())
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
    at.wait_for(lambda: not sweep.running(), every_s=3.0, what=sweep.log())

    check_every_dollar(at, sweep, tmp_path / "paid")
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
