"""Ray's node provider: `type: external`, `module: tune_app.cloud.provider.StelluxNodeProvider`.

It holds no truth of its own. The head is the machine that the YAML names; what workers there are,
the cloud's daemon says. A list that fails raises, so that the autoscaler does nothing: it never
reads as "no nodes", which would rent all of them again.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import click
from ray.autoscaler._private.constants import AUTOSCALER_MAX_LAUNCH_BATCH
from ray.autoscaler._private.util import hash_launch_conf
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    NODE_KIND_WORKER,
    STATUS_UNINITIALIZED,
    STATUS_UP_TO_DATE,
    TAG_RAY_LAUNCH_CONFIG,
    TAG_RAY_LAUNCH_REQUEST,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

from tune_app.cloud.daemon_client import DaemonClient
from tune_app.cloud.errors import LaunchError
from tune_app.cloud.head.bring_up import bring_up
from tune_app.cloud.head.layout import CODE, OVERLAY_FOLDER, RAY_HOME, RAY_USER, TOOLS
from tune_app.cloud.head.remote import release, remote_daemon, shell_of, stop_services
from tune_app.cloud.overlay.addresses import HEAD, Ports, address
from tune_app.cloud.provider_nodes import (
    Outcome,
    checked_nodes,
    launch_of,
    launch_problem,
    request_id,
)
from tune_app.cloud.provider_runner import StrictRunner, Way
from tune_app.cloud.provider_settings import (
    ProviderSettings,
    check_config,
    head_id,
    read_settings,
)
from tune_app.cloud.workers import Node

logger = logging.getLogger(__name__)


STOP_RAY = "sudo -n systemctl stop stellux-sweep; sudo -n systemctl stop stellux-head"
"""In the place of `ray stop`: systemd would start Ray again."""


WORKER_ACCESS = {
    "key": f"{RAY_HOME}/.stellux/updater_key",
    "known_hosts": str(OVERLAY_FOLDER / "known_workers"),
}
"""Where the head has what leads to workers: see `tune_app.cloud.overlay.access`."""
RAY_TOKEN = "~/.ray/auth_token"
"""On the head and on workers."""


class HeadIsKeptError(ValueError):
    """Somebody other than `ray down` would end the head."""


class NoSuchNodeError(ValueError):
    """A node that the daemon does not list (any more)."""


class StelluxNodeProvider(NodeProvider):
    """Safe between threads. Raises DaemonError or CloudError where the workers are not known."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._settings = read_settings(provider_config, cluster_name)
        self._head = head_id(cluster_name)
        self._client = _daemon(self._settings)
        self._lock = threading.Lock()
        self._seen: Mapping[str, Node] = {}
        """The last list: Ray asks for it, and then of each node on it."""
        self._written: dict[str, dict[str, str]] = {}
        """Tags that Ray set: how far its own updaters are."""
        self._asking: dict[str, list[int]] = {}
        """Launch → how many workers each of its calls asks for that is not answered yet."""
        self._empty_since: float | None = None
        self._stopped = False
        self._released = False

    # The YAML

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """Checks the YAML, and notes that the head is up to date: `ray up` never replaces it.

        Raises click.ClickException for a YAML that no cluster could come of: Ray's commands then
        print what it says, and nothing else.
        """
        try:
            check_config(cluster_config)
        except ValueError as error:
            raise click.ClickException(str(error)) from error
        config = copy.deepcopy(cluster_config)
        kind = config["head_node_type"]
        told = config.get("head_node", {}) | config["available_node_types"][kind]["node_config"]
        config["provider"]["head"] |= {
            "node_type": kind,
            "user": config["auth"]["ssh_user"],
            "launch_hash": hash_launch_conf(told, config["auth"]),  # type: ignore[no-untyped-call]
        }
        return config

    def prepare_for_head_node(self, cluster_config: dict[str, Any]) -> dict[str, Any]:
        """Sets the head up, all but Ray. Returns the YAML's copy for it.

        Of all that Ray's launcher asks a provider, only `ray up` asks this.
        """
        with _in_one_line():
            bring_up(cluster_config, shell_of(self._settings.head), say=click.echo)
        return head_config(cluster_config)

    # Looking

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """Ids of the head and of all workers with these tags. Raises rather than guessing."""
        heads = [] if self._released else [self._head]
        if tag_filters.get(TAG_RAY_NODE_KIND) == NODE_KIND_HEAD:
            # The machine that `ray up` starts from may not reach the daemon yet.
            return self._with_tags(heads, {}, tag_filters)
        return self._with_tags(heads, self._look(), tag_filters)

    def nodes_for_teardown(self, tag_filters: dict[str, str]) -> list[str]:
        """The same, with workers whose end was asked for and not seen yet."""
        nodes = self.non_terminated_nodes(tag_filters)
        if self._released or tag_filters.get(TAG_RAY_NODE_KIND) == NODE_KIND_HEAD:
            return nodes
        return list(dict.fromkeys([*nodes, *self._client.status().being_destroyed]))

    def is_running(self, node_id: str) -> bool:
        return node_id == self._head or self._node(node_id).status == "running"

    def is_terminated(self, node_id: str) -> bool:
        if node_id == self._head:
            return self._released
        return node_id not in self._look()

    def node_tags(self, node_id: str) -> dict[str, str]:
        with self._lock:
            written = dict(self._written.get(node_id, {}))
        if node_id == self._head:
            return self._head_tags() | written
        return self._worker_tags(self._node(node_id)) | written

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        """Remembered by this process; the daemon has no use for them."""
        with self._lock:
            self._written.setdefault(node_id, {}).update(tags)

    def internal_ip(self, node_id: str) -> str:
        return address(HEAD if node_id == self._head else self._node(node_id).k)

    def external_ip(self, node_id: str) -> str:
        """The head's own address; a worker has none but the overlay's."""
        if node_id == self._head:
            return self._settings.head.address
        return self.internal_ip(node_id)

    # Renting

    def create_node(
        self, node_config: dict[str, Any], tags: dict[str, str], count: int
    ) -> dict[str, Any]:
        """Rents workers: see `create_node_with_resources_and_labels`. The head is never rented."""
        return self.create_node_with_resources_and_labels(node_config, tags, count, {}, {})

    def create_node_with_resources_and_labels(
        self,
        node_config: dict[str, Any],
        tags: dict[str, str],
        count: int,
        resources: dict[str, float],
        labels: dict[str, str],
    ) -> dict[str, Any]:
        """Asks for `count` workers at once; answers within a minute, long before they run.

        Returns those that are rented, by id. Raises LaunchError where some are not, and where
        that is certain: what is in doubt shows in a later list.
        """
        launch = tags.get(TAG_RAY_LAUNCH_REQUEST, "")
        if tags.get(TAG_RAY_NODE_KIND) != NODE_KIND_WORKER or not launch:
            raise ValueError(
                "only workers that a launch asks for are rented; the head is the machine that "
                "provider.head.address names"
            )
        kind, started = tags[TAG_RAY_USER_NODE_TYPE], time.time()
        with self._requests(launch, count) as requests, ThreadPoolExecutor(count) as pool:
            outcomes = list(pool.map(lambda request: self._ask_for(kind, request), requests))
        problem = launch_problem(outcomes, started)
        if problem is not None:
            raise LaunchError(problem)
        return {str(item.contract): {} for item in outcomes if isinstance(item, Node)}

    def _ask_for(self, kind: str, request: str) -> Outcome:
        try:
            return self._client.create(kind, request)
        except (OSError, ValueError) as error:
            logger.warning("no worker of type %s by request %s: %s", kind, request, error)
            return error

    @contextmanager
    def _requests(self, launch: str, count: int) -> Iterator[list[str]]:
        """Ids for the workers of a launch.

        Repeated, it has the same ids, so that the daemon refuses or adopts. Only what Ray splits
        off has others: it asks at once for the rest of a launch whose other calls are full.
        """
        with self._lock:
            before = self._asking.setdefault(launch, [])
            first = sum(before) if set(before) == {AUTOSCALER_MAX_LAUNCH_BATCH} else 0
            before.append(count)
        try:
            yield [request_id(launch, first + number) for number in range(1, count + 1)]
        finally:
            with self._lock:
                before.remove(count)
                if not before:
                    del self._asking[launch]

    # Ending

    def terminate_node(self, node_id: str) -> dict[str, Any] | None:
        """Ends a worker. Raises HeadIsKeptError for the head, and ValueError for a foreign id."""
        if node_id == self._head:
            raise HeadIsKeptError(
                f"the head {self._settings.head.address} is kept: it is not the autoscaler's, and "
                "`ray up` does not replace it; `ray down` ends a cluster, from the machine that "
                "it was started from"
            )
        if not node_id.isdecimal():
            raise NoSuchNodeError(f"{node_id!r} is no worker's id")
        if not self._client.destroy(int(node_id), "terminated by Ray"):
            logger.warning("worker %s is not gone yet; the daemon goes on trying", node_id)
        return None

    def terminate_nodes(self, node_ids: list[str]) -> dict[str, Any] | None:
        """Ends workers; with the head among them, and not on the head: all of it, as `ray down`.

        Raises HeadIsKeptError for the head on the head itself, when the workers were ended.
        """
        if self._head in node_ids and not self._settings.on_head:
            with _in_one_line():
                self._take_down()
            return None
        failures: list[Exception] = []
        # The head comes last: what else is asked for has to be done.
        for node_id in sorted(node_ids, key=lambda node_id: node_id == self._head):
            try:
                self.terminate_node(node_id)
            except (OSError, ValueError) as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return None

    def _take_down(self) -> None:
        """Ends every worker. The head is released when two looks, a while apart, found none."""
        if not self._stopped:
            # First: what waits for workers would have others rented.
            stop_services(shell_of(self._settings.head))
            self._stopped = True
        left = self._client.destroy_all("ray down")
        now = time.monotonic()
        if left or self._client.status().in_flight:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now
        if (
            self._empty_since is not None
            and now - self._empty_since >= self._settings.looks_apart_s
        ):
            release(shell_of(self._settings.head))
            self._released = True

    # Ray's way in

    def get_command_runner(  # noqa: PLR0917 — Ray's signature
        self,
        log_prefix: str,
        node_id: str,
        auth_config: dict[str, Any],
        cluster_name: str,
        process_runner: ModuleType,
        use_internal_ip: bool,
        docker_config: dict[str, Any] | None = None,
    ) -> StrictRunner:
        """Runs commands on the head, and from the head on workers.

        Raises ValueError for a worker to which there is no way: port 22 of its address is the
        head's own SSH server, and what was meant for the worker would be done to the head.
        """
        if docker_config and docker_config.get("container_name"):
            raise ValueError("no node runs Ray in a container; leave docker out of the YAML")
        return StrictRunner(
            self._way(node_id),
            log_prefix=log_prefix,
            node_id=node_id,
            provider=self,
            auth_config=auth_config,
            cluster_name=cluster_name,
            process_runner=process_runner,
            use_internal_ip=use_internal_ip,
        )

    def _way(self, node_id: str) -> Way:
        head, workers = self._settings.head, self._settings.workers
        if node_id == self._head:
            return Way(
                port=head.port,
                user=RAY_USER,
                key=head.key,
                known_hosts=head.known_hosts,
                stops_ray=STOP_RAY,
            )
        if workers is None or not self._settings.on_head:
            raise ValueError(
                f"there is no way to run a command on worker {node_id} by SSH from here; go to "
                "the head first: ray attach"
            )
        node = self._node(node_id)
        return Way(
            port=Ports(node.k).sshd,
            user=workers.user,
            key=workers.key,
            known_hosts=workers.known_hosts,
            environment={
                "STELLUX_CLUSTER": self.cluster_name,
                "STELLUX_K": str(node.k),
                "STELLUX_CPUS": str(max(1, int(node.cpus))),
            },
            needs_rsync=True,
        )

    # Inside

    def _look(self) -> Mapping[str, Node]:
        if self._released:
            return {}
        seen = checked_nodes(self._client.nodes(), self._settings.cluster)
        with self._lock:
            self._seen = seen
            self._written = {
                node_id: tags
                for node_id, tags in self._written.items()
                if node_id in seen or node_id == self._head
            }
        return seen

    def _node(self, node_id: str) -> Node:
        node = self._seen.get(node_id) or self._look().get(node_id)
        if node is None:
            raise NoSuchNodeError(f"there is no worker {node_id!r} in the cloud daemon's list")
        return node

    def _with_tags(
        self, heads: list[str], workers: Mapping[str, Node], wanted: Mapping[str, str]
    ) -> list[str]:
        with self._lock:
            written = {node_id: dict(tags) for node_id, tags in self._written.items()}
        tags = {node_id: self._head_tags() for node_id in heads}
        tags |= {node_id: self._worker_tags(node) for node_id, node in workers.items()}
        return [
            node_id
            for node_id, own in tags.items()
            if wanted.items() <= (own | written.get(node_id, {})).items()
        ]

    def _head_tags(self) -> dict[str, str]:
        head = self._settings.head
        tags = {
            TAG_RAY_NODE_NAME: f"ray-{self.cluster_name}-head",
            TAG_RAY_NODE_KIND: NODE_KIND_HEAD,
            # So that `ray attach` and `ray exec` go there, whatever state it is in.
            TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE,
            TAG_RAY_USER_NODE_TYPE: head.node_type,
        }
        return tags | ({TAG_RAY_LAUNCH_CONFIG: head.launch_hash} if head.launch_hash else {})

    def _worker_tags(self, node: Node) -> dict[str, str]:
        return {
            TAG_RAY_NODE_NAME: f"ray-{self.cluster_name}-worker",
            TAG_RAY_NODE_KIND: NODE_KIND_WORKER,
            TAG_RAY_NODE_STATUS: STATUS_UNINITIALIZED,
            TAG_RAY_USER_NODE_TYPE: node.node_type,
            TAG_RAY_LAUNCH_REQUEST: launch_of(node.request),
        }


def head_config(cluster_config: Mapping[str, Any]) -> dict[str, Any]:
    """The YAML's copy for the head, without what only holds on the user's machine. Pure."""
    config = copy.deepcopy(dict(cluster_config))
    provider = config["provider"]
    provider["on_head"] = True
    for name in ("socket", "_config_cache_path"):
        provider.pop(name, None)
    for name in ("key", "known_hosts"):
        provider["head"].pop(name, None)
    provider.setdefault("workers", WORKER_ACCESS)
    # From the head to workers: the program, its tools, and what lets a node into this Ray cluster.
    config["file_mounts"] |= {
        str(CODE): str(CODE),
        str(TOOLS): str(TOOLS),
        RAY_TOKEN: RAY_TOKEN,
    }
    return config


def _daemon(settings: ProviderSettings) -> DaemonClient:
    if settings.on_head or settings.socket is not None:
        return DaemonClient(settings.socket, timeout_s=settings.answer_s)
    return remote_daemon(shell_of(settings.head))


@contextmanager
def _in_one_line() -> Iterator[None]:
    """What a user can mend is told without a traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
