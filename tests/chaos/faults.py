"""The faults: one class a kind, one table.

A fault returns the blow that it struck, or None while it has no victim. A victim is only hit again
after it has trained beyond the point of its last death: three deaths at the same step are, by
design, taken for a defect of the code.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol

import psutil

from tests.chaos.cluster import LocalCluster, Node
from tests.chaos.driver import Driver
from tests.chaos.processes import TrialWorker, members, send
from tests.chaos.progress import Progress
from tests.chaos.schedule import PlannedFault, Range
from tests.chaos.store import StoreUnderTest, tokens_of

AT_ONCE: Range = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Blow:
    """A fault that has happened."""

    number: int
    kind: str
    at: float
    """Seconds since the epoch, just before."""
    reached: Mapping[str, int]
    """Tokens of each cell that it hit, as its last heartbeat had them."""
    stored: Mapping[str, int] = field(default_factory=dict)
    """Tokens of the newest whole checkpoint of each of these cells, after the fault."""
    host: str = ""
    detail: str = ""
    seconds: float = 0.0
    """How long it lasted."""


@dataclass(kw_only=True)
class World:
    """What faults act upon."""

    cluster: LocalCluster
    driver: Driver
    store: StoreUnderTest
    progress: Progress
    died_at: dict[str, int] = field(default_factory=dict)
    """Tokens of each cell at its last death."""
    paused: set[int] = field(default_factory=set)
    """Sessions of nodes, and numbers of processes, that are stopped."""
    store_away: bool = False

    def victims(self) -> list[tuple[Node, TrialWorker]]:
        """Workers in mid-training that have come beyond the point of their last death."""
        return [
            (node, worker)
            for node in self.cluster.nodes
            if node.session not in self.paused
            for worker in node.workers()
            if worker.process.pid not in self.paused and self._fair(worker.cell)
        ]

    def reached(self, cells: Sequence[str]) -> dict[str, int]:
        return {cell: self.progress.tokens.get(cell, 0) for cell in cells}

    def stored(self, cells: Sequence[str]) -> dict[str, int]:
        return {cell: max(map(tokens_of, self.store.whole(cell)), default=0) for cell in cells}

    def die(self, cells: Sequence[str]) -> None:
        self.died_at |= self.reached(cells)

    def _fair(self, cell: str) -> bool:
        running = cell in self.progress.running
        return running and self.progress.tokens.get(cell, 0) > self.died_at.get(cell, 0)


class Fault(Protocol):
    """A kind of fault."""

    durations: ClassVar[Range]
    """Seconds that it lasts."""
    short: ClassVar[Range]
    """The same in a short run."""

    def strike(self, world: World, plan: PlannedFault) -> Blow | None:
        """Does it. None where there is no victim now."""

    def mend(self, world: World) -> None:
        """Ends it, where it lasts."""


class WorkerKilled:
    """SIGKILL to the process that trains a cell."""

    durations: ClassVar[Range] = AT_ONCE
    short: ClassVar[Range] = AT_ONCE

    def strike(self, world: World, plan: PlannedFault) -> Blow | None:
        if not (victims := world.victims()):
            return None
        node, worker = victims[plan.pick(len(victims))]
        blow = _blow(world, plan, [worker.cell], node, f"process {worker.process.pid}")
        send([worker.process], signal.SIGKILL)
        world.die([worker.cell])
        return blow

    def mend(self, world: World) -> None:
        """There is nothing to end."""


class NodeKilled:
    """SIGKILL to a node and its workers; another node takes its place."""

    durations: ClassVar[Range] = AT_ONCE
    short: ClassVar[Range] = AT_ONCE

    def strike(self, world: World, plan: PlannedFault) -> Blow | None:
        if not (victims := world.victims()):
            return None
        node, _ = victims[plan.pick(len(victims))]
        cells = [worker.cell for host, worker in victims if host is node]
        blow = _blow(world, plan, cells, node, f"session {node.session}")
        world.cluster.kill(node)
        world.die(cells)
        world.cluster.add_node()
        return blow

    def mend(self, world: World) -> None:
        """There is nothing to end."""


class DriverKilled:
    """SIGKILL to the driver; the same command is started again."""

    durations: ClassVar[Range] = AT_ONCE
    short: ClassVar[Range] = AT_ONCE

    def strike(self, world: World, plan: PlannedFault) -> Blow | None:
        # A sweep that cannot reach its store refuses to start, rightly.
        if world.store_away or not world.victims() or not world.driver.alive:
            return None
        blow = _blow(world, plan, world.progress.running, None, f"start {world.driver.starts}")
        world.driver.kill()
        # The workers of a dead driver end at once.
        world.die(world.progress.running)
        world.driver.start()
        return blow

    def mend(self, world: World) -> None:
        """There is nothing to end."""


class _Pause:
    """SIGSTOP, and SIGCONT when it ends."""

    durations: ClassVar[Range] = (10.0, 60.0)
    short: ClassVar[Range] = (3.0, 8.0)

    def __init__(self) -> None:
        self._stopped: list[psutil.Process] = []
        self._name = 0

    def mend(self, world: World) -> None:
        send(self._stopped, signal.SIGCONT)
        world.paused.discard(self._name)

    def _stop(self, world: World, name: int, processes: Sequence[psutil.Process]) -> None:
        self._stopped = list(processes)
        self._name = name
        world.paused.add(name)
        send(self._stopped, signal.SIGSTOP)


class WorkerPaused(_Pause):
    """The process that trains a cell stands still for a while."""

    def strike(self, world: World, plan: PlannedFault) -> Blow | None:
        if not (victims := world.victims()):
            return None
        node, worker = victims[plan.pick(len(victims))]
        blow = _blow(world, plan, [worker.cell], node, f"process {worker.process.pid}")
        self._stop(world, worker.process.pid, [worker.process])
        return blow


class NodePaused(_Pause):
    """A node and its workers stand still for a while, as behind a network that swallows all."""

    def strike(self, world: World, plan: PlannedFault) -> Blow | None:
        if not (victims := world.victims()):
            return None
        node, _ = victims[plan.pick(len(victims))]
        cells = [worker.cell for host, worker in victims if host is node]
        blow = _blow(world, plan, cells, node, f"session {node.session}")
        self._stop(world, node.session, members(node.session))
        return blow


class StoreAway:
    """The store of checkpoints cannot be reached for a while."""

    durations: ClassVar[Range] = (3.0, 12.0)
    short: ClassVar[Range] = (2.0, 4.0)

    def strike(self, world: World, plan: PlannedFault) -> Blow | None:
        if world.store_away or not world.victims():
            return None
        blow = _blow(world, plan, world.progress.running, None, world.store.url)
        world.store.take_away()
        world.store_away = True
        return blow

    def mend(self, world: World) -> None:
        world.store.bring_back()
        world.store_away = False


class CheckpointTorn:
    """The newest checkpoint of a cell in training loses its second half, and its worker dies.

    Without the death nobody would ever read what was torn.
    """

    durations: ClassVar[Range] = AT_ONCE
    short: ClassVar[Range] = AT_ONCE

    def strike(self, world: World, plan: PlannedFault) -> Blow | None:
        if world.store_away:
            return None
        victims = [pair for pair in world.victims() if len(world.store.whole(pair[1].cell)) >= 2]
        if not victims:
            return None
        node, worker = victims[plan.pick(len(victims))]
        # Stopped first: it would write a newer one, or remove this one.
        send([worker.process], signal.SIGSTOP)
        time.sleep(0.02)
        blow = _blow(world, plan, [worker.cell], node, "")
        torn = world.store.whole(worker.cell)[-1]
        tear(torn)
        with suppress(psutil.NoSuchProcess):
            worker.process.kill()
        world.die([worker.cell])
        return replace(blow, detail=torn.name, stored=world.stored([worker.cell]))

    def mend(self, world: World) -> None:
        """There is nothing to end."""


def tear(path: Path) -> None:
    """Leaves the first half of a file."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


FAULTS: Mapping[str, Callable[[], Fault]] = {
    "worker killed": WorkerKilled,
    "node killed": NodeKilled,
    "driver killed": DriverKilled,
    "worker paused": WorkerPaused,
    "node paused": NodePaused,
    "store away": StoreAway,
    "checkpoint torn": CheckpointTorn,
}


def durations(*, short: bool) -> dict[str, Range]:
    """Seconds that a fault lasts, by kind."""
    return {kind: (make().short if short else make().durations) for kind, make in FAULTS.items()}


def _blow(
    world: World, plan: PlannedFault, cells: Sequence[str], node: Node | None, detail: str
) -> Blow:
    world.progress.look()
    return Blow(
        number=plan.number,
        kind=plan.kind,
        at=time.time(),
        reached=world.reached(cells),
        stored=world.stored(cells),
        host="" if node is None else node.host,
        detail=detail,
        seconds=plan.seconds,
    )
