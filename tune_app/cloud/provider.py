"""Ray's node provider: `type: external`, `module: tune_app.cloud.provider.StelluxNodeProvider`.

It holds no state of its own. The head is the machine that the YAML names or creates; the cloud's
daemon lists the workers. A list that fails raises, so that the autoscaler does nothing: it never
means "no nodes", which would rent all of them again.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import click
from ray.autoscaler._private.constants import AUTOSCALER_MAX_LAUNCH_BATCH
from ray.autoscaler._private.util import hash_launch_conf
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    NODE_KIND_WORKER,
    STATUS_UPDATE_FAILED,
    TAG_RAY_LAUNCH_REQUEST,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

from tune_app.cloud.autoscaling.launches import Launches
from tune_app.cloud.autoscaling.nodes import (
    Outcome,
    checked_nodes,
    launch_problem,
)
from tune_app.cloud.autoscaling.ssh_runner import StrictRunner, Way, way_to_head, way_to_worker
from tune_app.cloud.autoscaling.tags import head_tags, worker_tags
from tune_app.cloud.autoscaling.teardown import Teardown
from tune_app.cloud.cluster_yaml.head_copy import head_config, with_machine
from tune_app.cloud.cluster_yaml.records import HeadMachine, HeadToCreate, ProviderSettings
from tune_app.cloud.cluster_yaml.settings import check_config, head_id, read_settings
from tune_app.cloud.daemon.client import DaemonClient
from tune_app.cloud.errors import LaunchError
from tune_app.cloud.head.bring_up import bring_up
from tune_app.cloud.head.remote import remote_daemon, shell_of
from tune_app.cloud.head.shell import HeadUnreachableError
from tune_app.cloud.head_machine.choose import Head, found, head_of
from tune_app.cloud.head_machine.without_head import market_from_here
from tune_app.cloud.overlay.addresses import HEAD, address
from tune_app.cloud.renting.workers import Node

logger = logging.getLogger(__name__)


class HeadIsKeptError(ValueError):
    """Only `ray down` may end the head."""


class NoSuchNodeError(ValueError):
    """A node that the daemon does not list (any more)."""


class StelluxNodeProvider(NodeProvider):
    """Thread-safe. Raises DaemonError or CloudError if the workers are not known."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._settings = read_settings(provider_config, cluster_name)
        self._head = head_id(cluster_name)
        self._machine = head_of(self._settings)
        self._teardown = Teardown(
            cluster_name,
            self._machine,
            lambda: self._client,
            lambda: market_from_here(self._settings.market, os.environ, Path.home()),
            looks_apart_s=self._settings.section.looks_apart_s,
            say=click.echo,
        )
        self._lock = threading.Lock()
        self._seen: Mapping[str, Node] = {}
        """The last list: Ray asks for it, and then for each node on it."""
        self._written: dict[str, dict[str, str]] = {}
        """Tags that Ray set: the progress of its own updaters."""
        self._launches = Launches(AUTOSCALER_MAX_LAUNCH_BATCH)

    @cached_property
    def _client(self) -> DaemonClient:
        """From elsewhere it is reached through the head, which may not exist yet."""
        return _daemon(self._settings, self._machine)

    # The YAML

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """Checks the YAML, and notes that the head is up to date: `ray up` never replaces it.

        Raises click.ClickException for a YAML that cannot become a cluster: Ray's commands then
        print its message, and nothing else.
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
            # Again: an earlier attempt may have stopped before its host key was replaced.
            machine = self._machine.make(click.echo)
            told = with_machine(cluster_config, machine)
            bring_up(told, shell_of(machine), say=click.echo)
        return head_config(told, machine)

    # Looking

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """Ids of the head and of all workers with these tags. Raises rather than guessing."""
        heads = self._heads()
        if tag_filters.get(TAG_RAY_NODE_KIND) == NODE_KIND_HEAD:
            # The machine that `ray up` starts from may not reach the daemon yet.
            return self._with_tags(heads, {}, tag_filters)
        return self._with_tags(heads, self._look(), tag_filters)

    def nodes_for_teardown(self, tag_filters: dict[str, str]) -> list[str]:
        """The same, with workers whose end was asked for and not seen yet."""
        if self._teardown.done:
            return []
        with _in_one_line():
            if self._machine.find() is None:
                self._machine.check_absence()
                return []
            only_head = tag_filters.get(TAG_RAY_NODE_KIND) == NODE_KIND_HEAD
            try:
                alone = not only_head and self._machine.never_rented()
            except HeadUnreachableError as error:
                logger.info("%s", error)
                alone = True  # its workers are found by their labels
            if alone:
                return self._with_tags(self._heads(), {}, tag_filters)
        nodes = self.non_terminated_nodes(tag_filters)
        if only_head:
            return nodes
        return list(dict.fromkeys([*nodes, *self._client.status().being_destroyed]))

    def is_running(self, node_id: str) -> bool:
        return node_id == self._head or self._node(node_id).status == "running"

    def is_terminated(self, node_id: str) -> bool:
        if node_id == self._head:
            return self._teardown.done
        return node_id not in self._look()

    def node_tags(self, node_id: str) -> dict[str, str]:
        with self._lock:
            written = dict(self._written.get(node_id, {}))
        if node_id == self._head:
            return self._head_tags() | written
        return worker_tags(self.cluster_name, self._node(node_id)) | written

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        """Remembered by this process; the daemon has no use for them."""
        with self._lock:
            self._written.setdefault(node_id, {}).update(tags)

    def internal_ip(self, node_id: str) -> str:
        return address(HEAD if node_id == self._head else self._node(node_id).k)

    def external_ip(self, node_id: str) -> str:
        """The head's own address; a worker has none but the overlay's."""
        if node_id == self._head:
            return self._found().address
        return self.internal_ip(node_id)

    # Renting

    def create_node(
        self, node_config: dict[str, Any], tags: dict[str, str], count: int
    ) -> dict[str, Any]:
        """Creates the head, if the YAML says so; Ray's launches rent the workers."""
        if tags.get(TAG_RAY_NODE_KIND) == NODE_KIND_HEAD and isinstance(
            self._settings.head, HeadToCreate
        ):
            with _in_one_line():
                self._machine.make(click.echo)
            # By these, `ray up` looks for what it had made.
            self.set_node_tags(self._head, tags)
            return {self._head: {}}
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

        Returns those that are rented, by id. Raises LaunchError if some are not, and where
        that is certain: what is in doubt shows in a later list.
        """
        launch = tags.get(TAG_RAY_LAUNCH_REQUEST, "")
        if tags.get(TAG_RAY_NODE_KIND) != NODE_KIND_WORKER or not launch:
            raise ValueError(
                "only workers of a launch are rented; the head is the machine that "
                "provider.head names"
            )
        kind, started = tags[TAG_RAY_USER_NODE_TYPE], time.time()
        with self._launches.requests(launch, count) as requests, ThreadPoolExecutor(count) as pool:
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

    # Ending

    def terminate_node(self, node_id: str) -> dict[str, Any] | None:
        """Ends a worker. Raises HeadIsKeptError for the head, and ValueError for a foreign id."""
        if node_id == self._head:
            raise HeadIsKeptError(
                f"the head {self._found().address} is kept: it is not the autoscaler's, and "
                "`ray up` does not replace it; `ray down` ends a cluster, from the machine that "
                "it was started from"
            )
        if not node_id.isdecimal():
            raise NoSuchNodeError(f"{node_id!r} is not a worker's id")
        status = self._written.get(node_id, {}).get(TAG_RAY_NODE_STATUS)
        bad = status == STATUS_UPDATE_FAILED
        reason = "its set-up failed" if bad else "terminated by Ray"
        if not self._client.destroy(int(node_id), reason, bad=bad):
            logger.warning("worker %s is not gone yet; the daemon keeps trying", node_id)
        return None

    def terminate_nodes(self, node_ids: list[str]) -> dict[str, Any] | None:
        """Ends workers; with the head among them, and not on the head: all of it, as `ray down`.

        Raises HeadIsKeptError for the head on the head itself, when the workers were ended.
        """
        if self._head in node_ids and not self._settings.section.on_head:
            with _in_one_line():
                self._teardown.step()
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

        Raises ValueError for a worker that cannot be reached: port 22 of its address is the head's
        own SSH server, and the command would run on the head instead.
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
        if node_id == self._head:
            return way_to_head(self._found())
        workers = self._settings.section.workers
        if workers is None or not self._settings.section.on_head:
            raise ValueError(
                f"no command can be run on worker {node_id} by SSH from here; go to "
                "the head first: ray attach"
            )
        return way_to_worker(workers, self._node(node_id), self.cluster_name)

    # Inside

    def _heads(self) -> list[str]:
        if self._teardown.done:
            return []
        with _in_one_line():
            return [] if self._machine.find() is None else [self._head]

    def _found(self) -> HeadMachine:
        with _in_one_line():
            return found(self._machine)

    def _look(self) -> Mapping[str, Node]:
        if self._teardown.done:
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
            raise NoSuchNodeError(f"no worker {node_id!r} in the cloud daemon's list")
        return node

    def _with_tags(
        self, heads: list[str], workers: Mapping[str, Node], wanted: Mapping[str, str]
    ) -> list[str]:
        with self._lock:
            written = {node_id: dict(tags) for node_id, tags in self._written.items()}
        tags = {node_id: self._head_tags() for node_id in heads}
        tags |= {node_id: worker_tags(self.cluster_name, node) for node_id, node in workers.items()}
        return [
            node_id
            for node_id, own in tags.items()
            if wanted.items() <= (own | written.get(node_id, {})).items()
        ]

    def _head_tags(self) -> dict[str, str]:
        head = self._settings.head
        return head_tags(self.cluster_name, head.node_type, launch_hash=head.launch_hash)


def _daemon(settings: ProviderSettings, head: Head) -> DaemonClient:
    if settings.section.on_head or settings.socket is not None:
        return DaemonClient(settings.socket, timeout_s=settings.section.answer_s)
    return remote_daemon(shell_of(found(head)))


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Mistakes that a user can fix are reported without a traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
