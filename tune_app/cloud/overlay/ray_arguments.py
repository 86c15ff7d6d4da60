"""How Ray is started on a node of the overlay. Pure."""

from __future__ import annotations

from types import MappingProxyType

from tune_app.cloud.overlay.addresses import HEAD, Ports, address

DASHBOARD_PORT = 8265

ENVIRONMENT = MappingProxyType(
    {
        # Times 13 s for a node that is silent, as a stalled link makes it, and 3 s for one that was
        # killed. With 60 a node that was killed still counted as alive 100 s later.
        "RAY_health_check_failure_threshold": "15",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "300",
        "RAY_grpc_keepalive_timeout_ms": "180000",
        "RAY_grpc_client_keepalive_timeout_ms": "180000",
        # Ray's ports are open to everyone who shares a bridge with a worker.
        "RAY_AUTH_MODE": "token",
    }
)
"""For `ray start`, the same on every node."""


def head_arguments(*, gcs_port: int, object_store_bytes: int) -> tuple[str, ...]:
    """`ray start` of the head, which trains nothing itself."""
    return (
        "ray",
        "start",
        "--head",
        f"--port={gcs_port}",
        # `ray dashboard` forwards to localhost: at the overlay's address it would be refused.
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={DASHBOARD_PORT}",
        *_node_arguments(HEAD, cpus=0, object_store_bytes=object_store_bytes),
    )


def worker_arguments(
    k: int,
    *,
    gcs_port: int,
    cpus: int,
    object_store_bytes: int,
    object_store_folder: str = "",
    head: str = "",
) -> tuple[str, ...]:
    """`ray start` of worker k.

    Args:
        object_store_folder: of the objects; empty for Ray's choice, /dev/shm where it is large
            enough.
        head: the head's address; empty for the overlay's.
    """
    folder = (f"--plasma-directory={object_store_folder}",) if object_store_folder else ()
    return (
        "ray",
        "start",
        f"--address={head or address(HEAD)}:{gcs_port}",
        *_node_arguments(k, cpus=cpus, object_store_bytes=object_store_bytes),
        *folder,
    )


def _node_arguments(k: int, *, cpus: int, object_store_bytes: int) -> tuple[str, ...]:
    if cpus < 0 or object_store_bytes < 80_000_000:
        raise ValueError(
            f"{cpus} CPUs and an object store of {object_store_bytes:,} bytes; there must be 0 "
            "CPUs or more, and 80,000,000 bytes or more"
        )
    ports = Ports(k)
    return (
        f"--node-ip-address={address(k)}",
        f"--node-manager-port={ports.node_manager}",
        f"--object-manager-port={ports.object_manager}",
        f"--runtime-env-agent-port={ports.runtime_env_agent}",
        f"--dashboard-agent-listen-port={ports.agent_http}",
        f"--dashboard-agent-grpc-port={ports.agent_grpc}",
        f"--metrics-export-port={ports.metrics}",
        f"--min-worker-port={ports.workers.start}",
        f"--max-worker-port={ports.workers.stop - 1}",
        f"--num-cpus={cpus}",
        f"--object-store-memory={object_store_bytes}",
        "--disable-usage-stats",
    )
