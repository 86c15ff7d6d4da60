"""The addresses of a cluster's nodes: node k at 127.77.0.k, with a block of ports of its own.

Port numbers are unique in the whole cluster, not only at their address: several of Ray's servers
bind every address, and would collide with a forward of the same number.
"""

from __future__ import annotations

from dataclasses import dataclass

NETWORK = "127.77.0"
HEAD = 1
LAST = 127
"""So that the last block ends below 32768, where a kernel's ephemeral ports begin."""
FIRST_PORT = 20_000
BLOCK = 100
WORKER_PORTS = 16


def address(k: int, network: str = NETWORK) -> str:
    """The IP address of node k. Raises ValueError for a k that no node can have."""
    if isinstance(k, bool) or not HEAD <= k <= LAST:
        raise ValueError(f"a node's number is {k!r}; it must be {HEAD} (the head) to {LAST}")
    return f"{network}.{k}"


@dataclass(frozen=True)
class Ports:
    """The ports of node k. Raises ValueError for a k that no node can have."""

    k: int

    def __post_init__(self) -> None:
        address(self.k)

    @property
    def node_manager(self) -> int:
        """The first of its block of 100."""
        return FIRST_PORT + BLOCK * self.k

    @property
    def object_manager(self) -> int:
        return self.node_manager + 1

    @property
    def runtime_env_agent(self) -> int:
        return self.node_manager + 2

    @property
    def agent_http(self) -> int:
        return self.node_manager + 3

    @property
    def agent_grpc(self) -> int:
        return self.node_manager + 4

    @property
    def metrics(self) -> int:
        return self.node_manager + 5

    @property
    def sshd(self) -> int:
        """The worker's own SSH server, for what the head does on it."""
        return self.node_manager + 6

    @property
    def bell(self) -> int:
        """At the head's address: where worker k announces that it is about to connect."""
        return self.node_manager + 9

    @property
    def pulse(self) -> int:
        """At the head's address, with the head's number: where workers ask for the heartbeat."""
        return self.node_manager + 8

    @property
    def workers(self) -> range:
        """Ray's worker processes: actors, tasks, drivers."""
        first = self.node_manager + 10
        return range(first, first + WORKER_PORTS)

    @property
    def for_peers(self) -> tuple[int, ...]:
        """What other nodes must reach: the head's by workers."""
        return (self.node_manager, self.object_manager, *self.workers)

    @property
    def for_head(self) -> tuple[int, ...]:
        """What the head must reach. The runtime environment's agent serves its own node alone."""
        return (
            self.node_manager,
            self.object_manager,
            self.agent_http,
            self.agent_grpc,
            self.metrics,
            self.sshd,
            *self.workers,
        )
