"""How many cells a cluster can train at once, and with what: pure, from what is known of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN_CELLS = 8
"""Cells that wait for machines where nobody knows how many may come."""


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Machines of one kind."""

    name: str
    number: int
    cpus: float
    """Of each."""
    gpus: float

    @property
    def trains(self) -> bool:
        """Whether a trial could run there; a head usually has nothing to offer."""
        return self.number > 0 and (self.cpus > 0 or self.gpus > 0)

    def cells_each(self, *, cpus: int, gpus: float) -> int:
        """Cells that one of them trains at once."""
        each = self.cpus / cpus
        if gpus > 0:
            each = min(each, self.gpus / gpus)
        return math.floor(each)


@dataclass(frozen=True, kw_only=True)
class ClusterSize:
    """What a cluster has that trains, and what its autoscaler may make of it."""

    now: tuple[Machines, ...] = ()
    later: tuple[Machines, ...] = ()
    """Node types with the most machines of each; empty where nothing scales."""
    most_machines: int | None = None
    """Of all node types together; None for no other limit."""

    @property
    def grows(self) -> bool:
        """Whether machines may come that nobody has seen yet."""
        return not self.now or bool(self.later)

    @property
    def hosts(self) -> int:
        """Machines that train at the most."""
        later = sum(kind.number for kind in self.later)
        if self.most_machines is not None:
            later = min(later, self.most_machines)
        return max(1, len({machine.name for machine in self.now}), later)

    def gpus_a_cell(self) -> float:
        """One where any machine has a GPU, else none: the driver's own says nothing of them."""
        return 1.0 if any(kind.gpus > 0 for kind in (*self.now, *self.later)) else 0.0

    def cells_at_once(self, *, cpus: int, gpus: float) -> int:
        """Cells to train side by side when the cluster is as large as it gets."""
        if not self.now and not self.later:
            return UNKNOWN_CELLS
        now = sum(kind.number * kind.cells_each(cpus=cpus, gpus=gpus) for kind in self.now)
        later, left = 0, self.hosts
        # The largest first, as the autoscaler may choose them.
        for each, number in sorted(
            ((kind.cells_each(cpus=cpus, gpus=gpus), kind.number) for kind in self.later),
            reverse=True,
        ):
            later += each * min(number, left)
            left -= min(number, left)
        return max(1, now, later)


def node_types(config: Mapping[str, Any]) -> tuple[tuple[Machines, ...], int | None]:
    """The worker types of a cluster's YAML, and its limit on all of them together.

    Raises ValueError, TypeError, KeyError or AttributeError where it is no cluster's YAML.
    """
    most = config.get("max_workers")
    limit = None if most is None else int(most)
    types = []
    for name, values in config["available_node_types"].items():
        if name == config.get("head_node_type"):
            continue
        resources = values.get("resources") or {}
        number = values.get("max_workers", 0 if limit is None else limit)
        kind = Machines(
            name=str(name),
            number=int(number),
            cpus=float(resources.get("CPU", 0)),
            gpus=float(resources.get("GPU", 0)),
        )
        if kind.trains:
            types.append(kind)
    return tuple(types), limit
