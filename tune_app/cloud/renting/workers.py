"""A rented worker, and how its start is prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from tune_app.cloud.ledger.records import Attempt, Rental
from tune_app.cloud.market.instance_request import WorkerStart
from tune_app.cloud.market.labels import Label
from tune_app.cloud.market.records import Instance


class WorkerSetup(Protocol):
    """Prepares a worker's way to the head: keys, addresses."""

    def prepare(self, start: WorkerStart, label: Label) -> WorkerStart:
        """Called before the instance is asked for, with its node type's own start."""

    def revoke(self, k: int) -> None:
        """Called when the instance with this k is gone; perhaps more than once."""


class PlainSetup:
    """Starts a worker with its node type's script, and its number and label in the environment."""

    def prepare(self, start: WorkerStart, label: Label) -> WorkerStart:
        own = {"STELLUX_K": str(label.k), "STELLUX_LABEL": label.text}
        return WorkerStart(onstart=start.onstart, env={**start.env, **own})

    def revoke(self, k: int) -> None:
        """Nothing was handed out."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A rented worker, as a node provider wants to know it."""

    contract: int
    request: str
    node_type: str
    k: int
    label: str
    machine: int
    gpu: str
    cpus: float
    dollars_per_hour: float
    since: float
    """Seconds since 1970."""
    status: str
    """The API's: loading, running, unknown …; empty before it was listed."""
    public_address: str = ""
    proxy_host: str = ""
    proxy_port: int | None = None
    ports: Mapping[str, int] = field(default_factory=dict)


def node_of(attempt: Attempt, rental: Rental, instance: Instance | None) -> Node:
    """A worker as the ledger and, where it was listed, the API know it."""
    node = Node(
        contract=rental.contract,
        request=attempt.request,
        node_type=attempt.node_type,
        k=attempt.k,
        label=attempt.label,
        machine=attempt.machine,
        gpu=attempt.gpu,
        cpus=attempt.cpus,
        dollars_per_hour=attempt.bid + attempt.storage_per_hour,
        since=rental.since,
        status=rental.status,
    )
    if instance is None:
        return node
    return replace(
        node,
        public_address=instance.public_address,
        proxy_host=instance.proxy_host,
        proxy_port=instance.proxy_port,
        ports=instance.ports,
    )
