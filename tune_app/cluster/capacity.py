"""How many cells a cluster can train at once, from its machines and node types. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN_CELLS = 8
"""Cells to queue when the number of machines is unknown."""


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Machines of one kind."""

    name: str
    number: int
    cpus: float
    """Per machine."""
    gpus: float

    @property
    def trains(self) -> bool:
        """Whether a trial could run there; a head usually has no CPUs or GPUs to offer."""
        return self.number > 0 and (self.cpus > 0 or self.gpus > 0)

    def cells_each(self, *, cpus: int, gpus: float) -> int:
        """Cells that one machine trains at once."""
        each = self.cpus / cpus
        if gpus > 0:
            each = min(each, self.gpus / gpus)
        return math.floor(each)


@dataclass(frozen=True, kw_only=True)
class ClusterSize:
    """The machines of a cluster that can train, now and as its autoscaler may add them."""

    now: tuple[Machines, ...] = ()
    later: tuple[Machines, ...] = ()
    """Node types with the maximum number of machines of each; empty without autoscaling."""
    most_machines: int | None = None
    """Limit over all node types together; None for no limit."""
    mps: bool = False
    """Whether it is one Mac, whose GPU torch can use. Ray does not count it among the GPUs."""

    @property
    def grows(self) -> bool:
        """Whether machines may join that have not been checked yet."""
        return not self.now or bool(self.later)

    @property
    def hosts(self) -> int:
        """Maximum number of machines that train."""
        later = sum(kind.number for kind in self.later)
        if self.most_machines is not None:
            later = min(later, self.most_machines)
        return max(1, len({machine.name for machine in self.now}), later)

    def gpus_per_cell(self) -> float:
        """1 if any machine of the cluster has a GPU, else 0."""
        return 1.0 if any(kind.gpus > 0 for kind in (*self.now, *self.later)) else 0.0

    def cells_at_once(self, *, cpus: int, gpus: float) -> int:
        """Cells to train in parallel when the cluster has its maximum size."""
        if not self.now and not self.later:
            return UNKNOWN_CELLS
        now = sum(kind.number * kind.cells_each(cpus=cpus, gpus=gpus) for kind in self.now)
        later, left = 0, self.hosts
        # The largest first: the autoscaler may choose these.
        for each, number in sorted(
            ((kind.cells_each(cpus=cpus, gpus=gpus), kind.number) for kind in self.later),
            reverse=True,
        ):
            later += each * min(number, left)
            left -= min(number, left)
        return max(1, now, later)


def node_types(config: Mapping[str, Any]) -> tuple[tuple[Machines, ...], int | None]:
    """The worker types of a cluster's YAML, and its limit over all of them together.

    Raises ValueError, TypeError, KeyError or AttributeError if it is not a cluster's YAML.
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
