"""What a worker offers to Ray."""

from __future__ import annotations

import json

import pytest

from tune_app.cloud.node.resources import (
    LARGEST_STORE,
    SLOW_FOLDER,
    cgroup_cpus,
    object_store,
    usable_cpus,
    without_measured,
)
from tune_app.cloud.node.settings import SMALLEST_STORE

GB = 10**9


def test_objects_have_a_share_of_the_memory() -> None:
    store = object_store(shm=8 * GB, memory=16 * GB)
    assert (store.size, store.folder) == (1_600_000_000, "/dev/shm")
    assert "16,000,000,000 bytes of memory" in store.reason


def test_objects_never_fill_the_shared_memory() -> None:
    store = object_store(shm=GB, memory=64 * GB)
    assert (store.size, store.folder) == (GB // 2, "/dev/shm")
    assert "/dev/shm" in store.reason
    assert object_store(shm=64 * GB, memory=512 * GB).size == LARGEST_STORE


@pytest.mark.parametrize("shm", [0, 64 * 2**20, 2 * SMALLEST_STORE - 2])
def test_a_container_with_too_little_shared_memory_uses_files(shm: int) -> None:
    store = object_store(shm=shm, memory=2 * GB)
    assert (store.size, store.folder) == (200_000_000, SLOW_FOLDER)
    assert "slower" in store.reason
    assert object_store(shm=shm, memory=GB // 2).size == SMALLEST_STORE


@pytest.mark.parametrize(
    ("offered", "machine", "cpus", "why"),
    [
        (4, 64, 4, "as offered"),
        (8, 4.0, 4, "offer said 8"),
        (None, 6.5, 6, "the offer's number is unknown"),
        (2, 0.5, 1, "offer said 2"),
    ],
)
def test_cpus_are_the_offers_and_at_most_the_machines(
    offered: int | None, machine: float, cpus: int, why: str
) -> None:
    found, reason = usable_cpus(offered=offered, machine=machine)
    assert found == cpus
    assert why in reason


def test_an_offer_without_cpus_is_refused() -> None:
    with pytest.raises(ValueError, match="STELLUX_CPUS"):
        usable_cpus(offered=0, machine=4)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("250000 100000", 2.5), ("max 100000", None), ("-1 100000", None), (" ", None)],
)
def test_a_containers_share_of_the_machine(text: str, cpus: float | None) -> None:
    assert cgroup_cpus(text) == cpus


def test_a_node_types_other_resources_stay() -> None:
    given = json.dumps({"CPU": 4, "GPU": 1, "object_store_memory": 5, "memory": 7, "special": 1})
    left = without_measured(given)
    assert left is not None
    assert json.loads(left) == {"GPU": 1, "memory": 7, "special": 1}
    assert without_measured(None) is None
    assert without_measured("") is None


@pytest.mark.parametrize("text", ["[1]", "{CPU: 4}"])
def test_resources_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="RAY_OVERRIDE_RESOURCES"):
        without_measured(text)
