"""A head whose disk is full: nothing is rented any more, and what is rented can be ended."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.tune_app.cloud.clock import Clock
from tests.tune_app.cloud.renting.test_rented_machines import House
from tests.tune_app.cloud.vast.fake_vast import FakeVast, offer
from tune_app.cloud.errors import LedgerUnwritableError
from tune_app.cloud.ledger.disk_reserve import RESERVE, keep_reserve

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")


class Disk:
    """A disk of 6 MiB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as file:
            for size in (2**20, 2**12, 1):
                try:
                    while file.write(b"x" * size) == size:
                        pass
                except OSError:
                    continue

    def empty(self) -> None:
        self._filler.unlink()

    def fill_up(self, house: House) -> None:
        """Until not even the smallest change of the ledger finds room."""
        self.fill()
        with pytest.raises(LedgerUnwritableError, match="free space on the head's disk"):
            for number in range(3_000):
                house.ledger.avoid(1, str(number), seconds=1)
        self.fill()  # with what the reserve freed
        with pytest.raises(LedgerUnwritableError):
            for number in range(3_000):
                house.ledger.avoid(1, str(number), seconds=1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine mounts no disk, though root asks")
    yield Disk(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def fake() -> Iterator[FakeVast]:
    with FakeVast([offer(i, min_bid=0.20 + i / 1000) for i in range(1, 9)]) as server:
        yield server


@pytest.fixture
def build(disk: Disk, fake: FakeVast) -> Iterator[Callable[..., House]]:
    with ExitStack() as stack:

        def build(cap_dollars: float = 50.0) -> House:
            house = House(disk.folder, fake, Clock(), cap_dollars=cap_dollars)
            stack.callback(house.close)
            return house

        yield build


def test_ray_down_ends_everything_and_writes_it_when_there_is_room(
    build: Callable[..., House], disk: Disk, fake: FakeVast
) -> None:
    house = build()
    nodes = [house.create(request) for request in "ab"]
    house.steps(60)
    disk.fill_up(house)
    with pytest.raises(LedgerUnwritableError):
        house.create("c")
    assert house.rentals.destroy_all("ray down") == []
    assert fake.alive() == []
    assert house.rentals.nodes() == []
    assert house.rentals.closed() == "ray down"
    with pytest.raises(LedgerUnwritableError, match="cannot be written"):
        house.steps(15)
    disk.empty()
    house.steps(30)
    assert house.ledger.live() == []
    assert {rental.ended_reason for rental in house.ledger.rentals()} == {"ray down"}
    assert house.ledger.closed() == "ray down"
    assert house.keys.held == []
    assert {rental.contract for rental in house.ledger.rentals()} == {n.contract for n in nodes}


def test_the_cap_holds(build: Callable[..., House], disk: Disk, fake: FakeVast) -> None:
    house = build(cap_dollars=1.0)
    house.create("a")
    house.steps(60)
    disk.fill_up(house)
    for _ in range(5):
        assert len(fake.alive()) == 1
        with pytest.raises(LedgerUnwritableError):
            house.steps(15)
    house.clock.now += 5 * 3_600
    with pytest.raises(LedgerUnwritableError):
        house.steps(15)
    assert fake.alive() == []


def test_one_is_destroyed_when_it_is_asked_for(
    build: Callable[..., House], disk: Disk, fake: FakeVast
) -> None:
    house = build()
    one, other = house.create("a"), house.create("b")
    house.steps(60)
    disk.fill_up(house)
    assert house.rentals.destroy(one.contract, "its set-up failed", bad=True)
    assert [item.id for item in fake.alive()] == [other.contract]
    assert [node.contract for node in house.rentals.nodes()] == [other.contract]
    assert house.rentals.loaded() == {other.k: other.contract}


def test_with_its_reserve_a_daemon_starts_on_a_full_disk(
    build: Callable[..., House], disk: Disk
) -> None:
    first = build()
    node = first.create("a")
    first.ledger.close()
    disk.fill()
    assert (disk.folder / RESERVE).exists()
    second = build()
    assert [item.contract for item in second.rentals.nodes()] == [node.contract]
    second.ledger.close()
    disk.fill()
    (disk.folder / RESERVE).unlink(missing_ok=True)
    disk.fill()
    with pytest.raises(LedgerUnwritableError, match="df -h"):
        build()
    disk.empty()
    third = build()
    assert (disk.folder / RESERVE).exists(), "room is set aside again"
    assert third.rentals.destroy(node.contract, "asked for")


def test_no_space_is_no_reserve(disk: Disk) -> None:
    disk.fill()
    keep_reserve(disk.folder)
    assert [path.name for path in disk.folder.iterdir()] == ["filler"]
