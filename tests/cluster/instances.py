"""The fake Vast.ai with real machines behind it: a worker of the lab for each of its instances."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from tests.cluster.lab import Lab
from tests.cluster.machine import Machine
from tests.tune_app.cloud.vast.fake_vast import FakeInstance, FakeVast, own_key

PORT = 8080
LOGGER = logging.getLogger(__name__)


class Instances:
    """Makes a machine where an instance loads, and takes it away where it ends.

    The hooks are called under the fake's lock: they only hand on. One instance's machine is made
    and removed in this order, whatever happens in between.
    """

    def __init__(
        self,
        lab: Lab,
        *,
        image: Callable[[Machine], object] = lambda _: None,
        shared_memory: int = 1 << 30,
    ) -> None:
        self.lab = lab
        self._image = image
        self.failed: list[BaseException] = []
        """What went wrong with a machine; nothing, unless the lab itself is broken."""
        self._shared_memory = shared_memory
        self._lock = threading.Lock()
        self._turns: dict[int, threading.Lock] = {}
        self._known: dict[int, FakeInstance] = {}
        self._asked: set[int] = set()
        self._machines: dict[int, Machine] = {}
        self._boots: dict[int, int] = {}
        self._pool = ThreadPoolExecutor(4, "instances")

    @property
    def machines(self) -> dict[int, Machine]:
        """Those that run, by the instance's number."""
        with self._lock:
            return dict(self._machines)

    def ready(self, instance: FakeInstance) -> bool:
        """Whether its machine is up; the first call has it made."""
        with self._lock:
            if instance.id in self._asked:
                return instance.id in self._machines
            self._asked.add(instance.id)
            self._known[instance.id] = instance
        self._pool.submit(self._make, instance)
        return False

    def started(self, instance: FakeInstance) -> dict[str, Any]:
        """The instance is said to run; where it was stopped before, its machine is made again."""
        self.ready(instance)
        machine = self.machines.get(instance.id)
        return {"public_ipaddr": machine.place.public} if machine else {}

    def stopped(self, instance: FakeInstance) -> None:
        """Its processes are killed, without a warning, and its machine is removed."""
        with self._lock:
            self._asked.discard(instance.id)
        self._pool.submit(self._remove, instance)

    def tidy(self, fake: FakeVast) -> None:
        """Removes machines of instances that ended while they were loading: no hook tells."""
        for instance in [fake.instances[number] for number in self.machines]:
            if instance.destroyed is not None or instance.stopped:
                self.stopped(instance)

    def close(self) -> None:
        """Waits for what is under way, and removes all machines."""
        self._pool.shutdown()
        for instance in list(self._known.values()):
            self._remove(instance)

    def _turn(self, instance: FakeInstance) -> threading.Lock:
        with self._lock:
            return self._turns.setdefault(instance.id, threading.Lock())

    def _make(self, instance: FakeInstance) -> None:
        try:
            with self._turn(instance):
                if instance.destroyed is not None or instance.stopped:
                    return
                with self._lock:
                    boot = self._boots[instance.id] = self._boots.get(instance.id, 0) + 1
                name = f"w{instance.id}" + (f"-{boot}" if boot > 1 else "")
                machine = self.lab.add_worker(name, shared_memory=self._shared_memory)
                self._image(machine)
                _run_order(machine, instance)
                with self._lock:
                    self._machines[instance.id] = machine
        except BaseException as error:
            LOGGER.exception("instance %d got no machine", instance.id)
            self.failed.append(error)

    def _remove(self, instance: FakeInstance) -> None:
        try:
            with self._turn(instance):
                with self._lock:
                    machine = self._machines.pop(instance.id, None)
                if machine is not None:
                    self.lab.remove(machine)
        except BaseException as error:
            LOGGER.exception("the machine of instance %d was not removed", instance.id)
            self.failed.append(error)


def start_log(lab: Lab, number: int) -> str:
    """What an instance's start script has said; kept while the lab is there."""
    return (lab.folder / f"start-{number}.log").read_text("utf-8")


@contextmanager
def vast_in(
    lab: Lab,
    head: Machine,
    *,
    port: int = PORT,
    image: Callable[[Machine], object] = lambda _: None,
    shared_memory: int = 1 << 30,
    **fake: Any,
) -> Iterator[tuple[FakeVast, Instances]]:
    """The fake, at http://127.0.0.1:PORT within the head and the machines behind it.

    Args:
        image: what a worker's image brings along, before anything is started there.
        fake: of `FakeVast`: offers, load_s …
    """

    def arrive(machine: Machine) -> None:
        image(machine)
        server.serve_at(machine.listening_socket("127.0.0.1", port))

    instances = Instances(lab, image=arrive, shared_memory=shared_memory)
    server = FakeVast(
        listening=head.listening_socket("127.0.0.1", port),
        ready=instances.ready,
        started=instances.started,
        stopped=instances.stopped,
        **fake,
    )
    over = threading.Event()

    def look() -> None:
        # Instances load and end by the clock, also while nobody asks for them.
        while not over.wait(0.05):
            server.tick()
            instances.tidy(server)

    looking = threading.Thread(target=look, daemon=True)
    with server:
        looking.start()
        try:
            yield server, instances
        finally:
            over.set()
            looking.join()
    instances.close()


def _run_order(machine: Machine, instance: FakeInstance) -> None:
    """Starts what the order says, as root: its script, with its variables and its own key."""
    order = instance.order
    environment = {
        str(name): str(value)
        for name, value in (order.get("env") or {}).items()
        if not str(name).startswith("-")  # ports and other options of Docker's
    }
    machine.start(
        ["sh", "-c", str(order.get("onstart") or ":")],
        env=environment
        | {"CONTAINER_ID": str(instance.id), "CONTAINER_API_KEY": own_key(instance.id)},
        log=machine.folder.parent / f"start-{instance.id}.log",
    )
