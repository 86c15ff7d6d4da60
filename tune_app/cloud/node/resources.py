"""What a worker offers to Ray: how many CPUs, and how large an object store, where. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tune_app.cloud.node.settings import SMALLEST_STORE

MEMORY_SHARE = 0.1
"""Share of a worker's memory: checkpoints go to the store, so Ray's objects are small."""
SHM_SHARE = 0.5
"""Of /dev/shm, which PyTorch's loaders and CUDA need, too."""
LARGEST_STORE = 2_000_000_000
SLOW_FOLDER = "/tmp"


@dataclass(frozen=True, kw_only=True)
class ObjectStore:
    """How many bytes Ray's objects may use, where, and why."""

    size: int
    folder: str
    reason: str


def object_store(*, shm: int, memory: int) -> ObjectStore:
    """The object store of a machine.

    A container's /dev/shm has 64 MB by default, less than the least that Ray accepts:
    objects lie in files of a disk then, which is slow and does no harm to small ones.

    Args:
        shm: free bytes of /dev/shm.
        memory: bytes that this machine's processes may have together.
    """
    wanted = max(SMALLEST_STORE, min(LARGEST_STORE, int(MEMORY_SHARE * memory)))
    fits = int(SHM_SHARE * shm)
    if fits < SMALLEST_STORE:
        return ObjectStore(
            size=wanted,
            folder=SLOW_FOLDER,
            reason=f"/dev/shm has {shm:,} bytes, of which {SHM_SHARE:.0%} are under Ray's least, "
            f"{SMALLEST_STORE:,}: in files in {SLOW_FOLDER}, which is slower",
        )
    size = min(wanted, fits)
    what = f"{MEMORY_SHARE:.0%} of {memory:,} bytes of memory"
    if size < wanted:
        what = f"{SHM_SHARE:.0%} of the {shm:,} bytes in /dev/shm"
    return ObjectStore(size=size, folder="/dev/shm", reason=f"{what}, in /dev/shm")


def usable_cpus(*, offered: int | None, machine: float) -> tuple[int, str]:
    """How many CPUs Ray may plan with, and why.

    Args:
        offered: what was rented; None if that is not known.
        machine: what this machine's processes may use; a container may have a part of one.
    """
    real = max(1, int(machine))
    if offered is None:
        return real, f"{real} CPUs, all that the machine has; the offer's number is unknown"
    if offered < 1:
        raise ValueError(f"the offer has {offered} CPUs; it must be 1 or more: see STELLUX_CPUS")
    if offered > real:
        return real, f"{real} CPUs, all that the machine has; the offer said {offered}"
    return offered, f"{offered} CPUs, as offered, of {real}"


def cgroup_cpus(text: str) -> float | None:
    """The limit in a cgroup's cpu.max, `QUOTA PERIOD`; None if there is none."""
    words = text.split()
    if len(words) != 2 or not all(word.isdigit() and int(word) > 0 for word in words):
        return None
    return int(words[0]) / int(words[1])


def without_measured(override: str | None) -> str | None:
    """RAY_OVERRIDE_RESOURCES without what is measured here; the node type's others stay.

    Ray takes it before the arguments of `ray start`, and the YAML only guesses what will be rented.
    Raises ValueError if it is not a JSON object.
    """
    if not override:
        return None
    try:
        values = json.loads(override)
    except ValueError as error:
        raise ValueError(
            f"RAY_OVERRIDE_RESOURCES is not JSON ({error}): {override[:200]}"
        ) from None
    if not isinstance(values, dict):
        raise ValueError(
            f"RAY_OVERRIDE_RESOURCES is {override[:200]}; an object of names and numbers is "
            "expected, as in available_node_types"
        )
    return json.dumps(
        {name: value for name, value in values.items() if name not in _MEASURED}, sort_keys=True
    )


_MEASURED = ("CPU", "object_store_memory")
