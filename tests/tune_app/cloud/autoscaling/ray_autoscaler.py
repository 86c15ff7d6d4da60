"""Ray's own autoscaler over this project's provider, daemon and `cluster.yaml`.

Only Ray's control store is played: a test says which Ray nodes there are and what waits for them.
"""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from ray.autoscaler._private.providers import _clear_provider_cache
from ray.autoscaler.v2.autoscaler import Autoscaler
from ray.autoscaler.v2.instance_manager.config import FileConfigReader
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import (
    GetClusterResourceStateReply,
    NodeState,
    NodeStatus,
)
from ray.core.generated.instance_manager_pb2 import GetInstanceManagerStateRequest, Instance

from tests.tune_app.cloud.daemon.daemons import ROOT, DaemonProcess
from tests.tune_app.cloud.vast.fake_vast import FakeVast, offer
from tune_app.cloud.cluster_yaml.settings import head_id
from tune_app.cloud.provider import StelluxNodeProvider

WORKER = "gpu-worker"
HEAD = head_id("stellux")


def yaml_config(**provider: Any) -> dict[str, Any]:
    """The project's own cluster.yaml, with a head, and `provider` over its section."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text("utf-8"))
    config["provider"]["head"]["address"] = "head.example"
    # Nothing runs Ray on the instances here, nor could it be installed.
    config["provider"]["disable_node_updaters"] = True
    config["provider"] |= provider
    # Whoever runs the tests may have a key to the real market, and workers there.
    vast = {"base_url": "http://127.0.0.1:1", **config["provider"].get("vast", {})}
    config["provider"]["vast"] = vast
    return config


class ControlStore:
    """What the autoscaler asks of Ray's."""

    address = "127.77.0.1:6379"

    def __init__(self) -> None:
        self.nodes: dict[str, NodeState] = {}
        self.waiting = 0
        """Trials that wait for a GPU."""
        self.drained: list[str] = []
        """Nodes that the autoscaler stopped, by name."""

    def node(
        self, name: str, instance: str, *, status: int = NodeStatus.RUNNING, idle_s: float = 0.0
    ) -> None:
        """A Ray node, as its raylet and the environment that it was started with make it."""
        is_head = name.startswith("head")
        total = {"node:__internal_head__": 1.0} if is_head else {"CPU": 4.0, "GPU": 1.0}
        self.nodes[name] = NodeState(
            node_id=name.encode(),
            instance_id=instance,
            ray_node_type_name="head" if is_head else WORKER,
            status=status,
            idle_duration_ms=int(idle_s * 1_000),
            total_resources=total,
            available_resources={"node:__internal_head__": 1.0} if is_head else {"CPU": 4.0},
        )

    def drain_node(self, node_id: str, *_: Any, **__: Any) -> tuple[bool, str]:
        self._drain(bytes.fromhex(node_id))
        return True, ""

    def drain_nodes(self, node_ids: list[bytes]) -> list[bytes]:
        for node_id in node_ids:
            self._drain(node_id)
        return node_ids

    def _drain(self, node_id: bytes) -> None:
        self.drained.append(node_id.decode())
        self.nodes[node_id.decode()].status = NodeStatus.DEAD

    def get_cluster_resource_state(self, *_: Any, **__: Any) -> bytes:
        reply = GetClusterResourceStateReply()
        state = reply.cluster_resource_state
        state.node_states.extend(self.nodes.values())
        requests = [ResourceRequestUtil.make({"GPU": 1})] * self.waiting
        state.pending_resource_requests.extend(ResourceRequestUtil.group_by_count(requests))
        return reply.SerializeToString()


class Ticker:
    """One life of the autoscaler's process."""

    def __init__(self, path: Path, store: ControlStore) -> None:
        self.store = store
        _clear_provider_cache()  # a process of its own would have none
        reader = FileConfigReader(str(path))
        self.autoscaler = Autoscaler("session", reader, store)
        self.adapter = self.autoscaler._cloud_instance_provider
        self.provider: StelluxNodeProvider = self.adapter.v1_provider
        self.launched: list[tuple[str, int]] = []
        """Launches that Ray asked for: id and count."""
        self.terminated: list[list[str]] = []
        self._record()

    def _record(self) -> None:
        launch, terminate = self.adapter.launch, self.adapter.terminate

        def launching(shape: dict[str, int], request_id: str) -> None:
            self.launched.append((request_id, sum(shape.values())))
            launch(shape, request_id)

        def terminating(ids: list[str], request_id: str) -> None:
            self.terminated.append(list(ids))
            terminate(ids, request_id)

        self.adapter.launch, self.adapter.terminate = launching, terminating

    def tick(self) -> bool:
        """A round of the autoscaler. Returns whether it went through."""
        done = self.autoscaler.update_autoscaling_state() is not None
        # What it started in other threads is done, too: its own order of threads is kept.
        self.adapter._main_executor.submit(lambda: None).result(20)
        return done

    def until(self, holds: Callable[[], bool], *, seconds: float = 20.0) -> None:
        """Ticks until something is true."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, self.states()
            self.tick()
            time.sleep(0.05)

    def states(self) -> Counter[str]:
        """How many instances Ray's instance manager has in each state, by kind."""
        state = self.autoscaler._instance_manager.get_instance_manager_state(
            GetInstanceManagerStateRequest()
        ).state
        return Counter(
            f"{item.instance_type} {Instance.InstanceStatus.Name(item.status)}"
            for item in state.instances
        )


class RayCluster:
    """The fake API, a real daemon, and Ray's autoscaler as often as it is started."""

    def __init__(self, folder: Path, fake: FakeVast, **settings: Any) -> None:
        self.fake = fake
        self.store = ControlStore()
        self.daemon = DaemonProcess(
            folder,
            fake,
            cluster="stellux",
            node_types={WORKER: {"image": "cuda"}},
            max_instances=12,
            **settings,
        )
        config = yaml_config(on_head=True, socket=str(self.daemon.socket), answer_s=10.0)
        self.config = copy.deepcopy(config)
        self.path = folder / "ray_bootstrap_config.yaml"
        self.path.write_text(yaml.safe_dump(config), "utf-8")

    def autoscaler(self) -> Ticker:
        return Ticker(self.path, self.store)

    def provider(self, **values: Any) -> StelluxNodeProvider:
        return StelluxNodeProvider(self.config["provider"] | values, "stellux")

    def alive(self) -> list[str]:
        """What is rented, by Ray's ids."""
        return sorted(str(item.id) for item in self.fake.alive())


@contextmanager
def ray_cluster(folder: Path, **settings: Any) -> Iterator[RayCluster]:
    """A cluster whose daemon runs, and is ended in the end."""
    with FakeVast([offer(i, min_bid=0.20 + i / 1000) for i in range(1, 30)]) as fake:
        cluster = RayCluster(folder, fake, **settings)
        try:
            cluster.daemon.start()
            yield cluster
        finally:
            fake.let_go()
            process = cluster.daemon.process
            if process is not None and process.poll() is None:
                cluster.daemon.kill()
