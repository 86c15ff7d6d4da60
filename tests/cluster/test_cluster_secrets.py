"""What the owner of a rented host can do with what lies on it, while a sweep runs there."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.comparisons import unfinished
from tests.chaos.workspace import Size
from tests.cluster.machine import REPOSITORY, Machine
from tests.cluster.network import HEAD
from tests.cluster.stage import KEY, Stage, clean_stage
from tests.cluster.sweeps import CLOUD, SmallSweep
from tests.tune_app.cloud.overlay.hostile_sftp import SPOILT, changes, script

pytestmark = pytest.mark.cluster

STORE = "/srv/stellux/store"
"""On the head's disk; `/store` to who comes in by SFTP."""


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Stage]:
    with clean_stage(tmp_path / "logs") as made:
        yield made


def holders(machine: Machine, secret: bytes) -> tuple[set[str], set[str]]:
    """Files that were written on a machine, and processes (environment, command) with a secret."""
    files, processes = set(), set()
    disks = [path for path in machine.folder.iterdir() if path.name.startswith("upper")]
    lent = machine.path(REPOSITORY)  # whose tests have the key in them
    for disk in [*disks, *(machine.path(name) for name in ("/tmp", "/run", "/dev/shm"))]:
        for place, below, names in os.walk(disk):
            if Path(place) == lent:
                below.clear()
                continue
            for path in (Path(place) / name for name in names):
                with suppress(FileNotFoundError):  # removed meanwhile
                    if stat.S_ISREG(path.lstat().st_mode) and secret in path.read_bytes():
                        files.add(str(path.relative_to(disk)))
    for pid, command in machine.processes().items():
        with suppress(OSError):  # ended meanwhile
            told = (Path(f"/proc/{pid}/{name}") for name in ("environ", "cmdline"))
            if any(secret in path.read_bytes() for path in told):
                processes.add(command)
    return files, processes


def stored(at: Stage) -> dict[str, tuple[bytes, int]]:
    """Bytes and mode of every whole file in the store, by name; nobody writes now."""
    root = at.head.path(STORE)
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mode)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".tmp"
    }


def sftp(worker: Machine, lines: list[str]) -> list[str]:
    """What OpenSSH's client says to lines that fail, with the keys that lie on the worker."""
    keys = "/root/.stellux"
    worker.path(f"/root/{SPOILT}").write_bytes(b"spoilt")
    done = worker.run(
        [
            *("sftp", "-q", "-b", "-", "-P", "7722", "-i", f"{keys}/store_key"),
            *("-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={keys}/known_hosts"),
            f"stellux-store@{HEAD}",
        ],
        input=script(lines),
        timeout=120,
    )
    return done.stderr.splitlines()


def test_a_workers_owner_spoils_no_checkpoint_and_finds_no_key_of_the_account(
    at: Stage, tmp_path: Path
) -> None:
    at.config["idle_timeout_minutes"] = 10  # workers stay while the sweep is stopped
    at.write_config()
    sweep = SmallSweep(stage=at, size=Size(tokens=200_000, seeds=2, expansions=(2.0, 2.66)))
    at.at_laptop("ray", "up", "-y", "/root/cluster.yaml")
    sweep.send()
    sweep.start(tmp_path / "session.log")
    at.wait_for(lambda: len(at.ray_workers()) == 2, what="two workers")
    at.wait_for(
        lambda: len({path.parent for path in at.head.path(STORE).glob("*/*/[0-9]*-*.json")}) >= 2,
        what=f"checkpoints of two cells: {sweep.log()}",
    )

    assert holders(at.head, KEY.encode()) == ({"etc/stellux/vast_key"}, set())
    for worker in at.ray_workers():
        assert holders(worker, KEY.encode()) == (set(), set()), worker.name
        assert holders(worker, b"STELLUX_LABEL=")[1], "its processes' environments can be read"
        assert "root/.stellux/store_key" in holders(worker, b"OPENSSH PRIVATE KEY")[0]

    # Nothing changes in the store by itself while the sweep stands still.
    at.at_laptop(*f"{CLOUD} stop --cluster /root/cluster.yaml".split())
    at.wait_for(lambda: not sweep.running())
    with sweep.journal(tmp_path / "before") as journal:
        tried = {attempt.cell: attempt.number for attempt in journal.attempts()}
        hosts = {attempt.host for attempt in journal.attempts()}
    assert len(hosts) == 2
    before = stored(at)
    saved = {Path(name).parent.name for name in before if name.endswith(".pt")}
    assert len(saved & set(tried)) >= 2, before.keys()
    assert {stat.S_IMODE(mode) for _, mode in before.values()} == {0o444}
    workers = at.ray_workers()
    assert len(workers) == 2
    paths = [f"/store/{name}" for name in before]
    attempts = [*changes(paths), *(f"rmdir {Path(path).parent}" for path in paths)]
    for worker in workers:  # each attacks what the other has saved, and its own
        said = sftp(worker, attempts)
        assert len(said) >= len(attempts), said
        assert stored(at) == before

    sweep.start(tmp_path / "again.log")
    began = time.monotonic()
    at.wait_for(lambda: not sweep.running(), what=sweep.log())
    at.times["the sweep, continued"] = time.monotonic() - began
    with sweep.journal(tmp_path / "journal") as journal:
        assert unfinished(journal.cells()) == [], sweep.log()
        resumed = {
            attempt.cell
            for attempt in journal.attempts()
            if attempt.number == tried.get(attempt.cell, 0) + 1 and attempt.resumed_from
        }
        keys = {cell.key for cell in journal.cells()}
    assert len(resumed & saved) >= 2, (resumed, saved)
    # What workers had to leave, the driver has removed: the last stays, and the best.
    for key in keys:
        left = list(at.head.path(STORE).glob(f"*/{key}/*.pt"))
        assert 1 <= len(left) <= 2, left
    at.at_laptop("ray", "down", "-y", "/root/cluster.yaml")
    assert at.vast.alive() == []
