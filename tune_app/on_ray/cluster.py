"""Ray itself: started or reached, and what the cluster consists of."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray
import yaml
from ray._common.utils import get_default_system_temp_dir
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tune_app.cluster.capacity import ClusterSize, Machines, node_types
from tune_app.command_line import ROOT

logger = logging.getLogger(__name__)

CLUSTER_YAML = "ray_bootstrap_config.yaml"
"""In the home folder of whoever runs Ray on a head: `ray up` writes it, the autoscaler reads it."""

_LONGEST_SOCKET = "ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
"""In the temporary folder; the last number is a process id, of 7 digits at the most."""
_MOST_SOCKET_BYTES = 107
"""That the kernel takes as a socket's path."""

_HEAD = "node:__internal_head__"
_NEVER = str(10 * 365 * 86_400)
_ANSWER_SECONDS = 60.0
"""For a node to look for a folder: it may have to start a process first."""


@contextmanager
def connected(address: str | None, *, cpus: int, gpus: float, show: bool) -> Iterator[None]:
    """Ray, at an address or started on this machine, with its own messages off unless shown.

    Args:
        cpus: of this machine, where Ray starts on it; as many as there are, at the least.
        gpus: that a cell wants.

    Raises ValueError where this machine has fewer GPUs, or where Ray cannot start on it.
    """
    check_places(local=address is None)
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Tune's newer output prints a table of its own even where it is told to be silent.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Tune's own snapshots, which nothing reads; and figures of a dashboard that is not there.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "86400")
    # The sweep says by itself that it waits for machines.
    os.environ.setdefault("TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S", _NEVER)
    os.environ.setdefault("TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S_AUTOSCALER", _NEVER)
    local: dict[str, Any] = {}
    if address is None:
        os.environ.setdefault("REPORTER_UPDATE_INTERVAL_MS", "60000")
        local = {"num_cpus": max(cpus, os.cpu_count() or 1), "include_dashboard": False}
    # Workers look for packages in the folder that Ray is started from: that of the program, not one
    # that may have a model.py of its own.
    with writing_explained(), signals_kept_from_ray(), chdir(ROOT):
        ray.init(
            # Without an address Ray would take a cluster that it finds on this machine.
            address=address or "local",
            log_to_driver=show,
            logging_level=logging.INFO if show else logging.ERROR,
            **local,
        )
    if not show:
        _silence()
    try:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        there = resources.get("GPU", 0.0)
        if address is None and there < gpus:
            raise ValueError(
                f"a cell wants {gpus:g} GPUs, this machine has {there:g}; lower --gpus"
            )
        yield
    finally:
        ray.shutdown()


def check_places(*, local: bool) -> None:
    """As `refuse_places`, for this process."""
    temporary: str = get_default_system_temp_dir()  # type: ignore[no-untyped-call]
    refuse_places(Path(sys.executable), Path(temporary), local=local)


def refuse_places(python: Path, temporary: Path, *, local: bool) -> None:
    """Refuses places that Ray cannot work in: it would hang, or fail with no word on what to do.

    Args:
        python: what runs the program.
        temporary: where Ray puts its sockets.
        local: whether Ray is to be started on this machine.

    Raises ValueError with the remedy.
    """
    if any(map(str.isspace, str(python))):
        raise ValueError(
            f"Ray starts its workers through a shell, which splits {str(python)!r} at the space; "
            "move the checkout to a path without spaces"
        )
    if not local:
        return
    if any(map(str.isspace, str(temporary))):
        raise ValueError(
            f"Ray cannot work in the temporary folder {str(temporary)!r}, which has a space; set "
            "RAY_TMPDIR to another, for example /tmp"
        )
    socket = os.fsencode(temporary / _LONGEST_SOCKET)
    if len(socket) > _MOST_SOCKET_BYTES:
        most = _MOST_SOCKET_BYTES - len(_LONGEST_SOCKET) - 1
        raise ValueError(
            f"the temporary folder {temporary} is too long for the sockets that Ray keeps there, "
            f"{len(os.fsencode(temporary))} bytes where at most {most} can be; set RAY_TMPDIR to a "
            "shorter one, for example /tmp"
        )


@contextmanager
def writing_explained() -> Iterator[None]:
    """Says what to set where Ray may not write."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise ValueError(
            f"Ray cannot start: {error}; it writes to ~/.ray and to a temporary folder: set HOME "
            "and RAY_TMPDIR to folders that this user may write to"
        ) from error


@contextmanager
def signals_kept_from_ray() -> Iterator[None]:
    """Ray's processes that start within get a process group of their own.

    Whoever ends the sweep (a shell, `timeout`, a terminal that is closed) signals its process
    group. Ray's processes would be gone before the cells had saved what they trained.
    """
    services: Any = ray._private.services
    usual = services.ConsolePopen
    # Elsewhere Ray finds the processes that are left by their group.
    if sys.platform == "linux":
        services.ConsolePopen = partial(usual, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = usual


def cluster_size() -> ClusterSize:
    """What the cluster has that trains, and what its autoscaler may add.

    The autoscaler tells nobody what it may add; where the driver runs on the head, the file that
    it reads is there to be read.
    """
    types: tuple[Machines, ...] = ()
    most = None
    path = Path.home() / CLUSTER_YAML
    if _is_head() and path.exists():
        try:
            types, most = node_types(yaml.safe_load(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
            logger.warning("%s tells nothing of the workers that may come: %s", path, error)
    now = tuple(
        Machines(
            name=str(node["NodeManagerHostname"]),
            number=1,
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
        )
        for node in _nodes()
    )
    return ClusterSize(
        now=tuple(machine for machine in now if machine.trains), later=types, most_machines=most
    )


def blind_nodes(folder: Path) -> list[str]:
    """Names of the machines that would train and do not see a folder of this one.

    A node that does not answer, or cannot run this code, is not among them: nobody knows.
    Raises OSError where nothing can be written in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / f".seen-{secrets.token_hex(8)}"
    mark.touch()
    try:
        question: Any = ray.remote(num_cpus=0, max_retries=0)(is_there)
        asked = {
            question.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(
                    node_id=node["NodeID"], soft=False
                )
            ).remote(str(mark)): str(node["NodeManagerHostname"])
            for node in _nodes()
            if node["Resources"].get("CPU", 0.0) > 0 or node["Resources"].get("GPU", 0.0) > 0
        }
        answered, silent = (
            ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_SECONDS)
            if asked
            else ([], [])
        )
        for answer in silent:
            ray.cancel(answer, force=True)
        return sorted(asked[answer] for answer in answered if not _sees(answer, asked[answer]))
    finally:
        mark.unlink(missing_ok=True)


def is_there(path: str) -> bool:
    """Whether this machine has a file of that path."""
    return Path(path).exists()


def _sees(answer: Any, machine: str) -> bool:
    try:
        return bool(ray.get(answer))
    except RayError as error:
        logger.debug("%s cannot say what it sees: %s", machine, error)
        return True


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]


def _is_head() -> bool:
    """Whether the driver's node is the head's."""
    mine = ray.get_runtime_context().get_node_id()
    return any(node["NodeID"] == mine and _HEAD in node["Resources"] for node in _nodes())


def _silence() -> None:
    """Turns off what Ray says of lost processes and nodes: the journal has it, and says it once."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    for name in ("ray.tune", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # What Ray's daemons report is printed by a thread that no setting turns off.
    ray._private.worker.print_to_stdstream = lambda data, ignore_prefix: None
