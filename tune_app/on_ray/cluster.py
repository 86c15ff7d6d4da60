"""Ray itself: starting it or connecting to it, and the machines of the cluster."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from functools import partial
from pathlib import Path
from socket import create_connection
from typing import Any

import ray
import yaml
from ray._common.utils import get_default_system_temp_dir
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tune_app.cluster.capacity import ClusterSize, Machines, node_types
from tune_app.command_line import ROOT
from tune_app.devices import VISIBLE, visible_gpu
from tune_app.machine_limits import usable_cpus
from tune_app.on_ray.quiet import settings, silence

logger = logging.getLogger(__name__)

CLUSTER_YAML = "ray_bootstrap_config.yaml"
"""In the home folder on the cluster's head: `ray up` writes it, the autoscaler reads it."""

_LONGEST_SOCKET = "ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
"""Longest socket path below the temporary folder; the last number is a pid of up to 7 digits."""
_MOST_SOCKET_BYTES = 107
"""Longest socket path that the kernel accepts."""

_SHELL = "\"'\\`$&;|<>()"
"""What a shell does not take as a letter, apart from spaces."""
_WITHOUT_DOCSTRINGS = 2
"""Level of PYTHONOPTIMIZE."""

_HEAD = "node:__internal_head__"
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
"""For a node to look for a file: it may have to start a process first."""


@contextmanager
def connected(
    address: str | None, *, cpus: int, gpus: float, show: bool, device: str = "cpu"
) -> Iterator[None]:
    """Connects to Ray at an address, or starts it on this machine.

    Args:
        address: of a running cluster; None starts Ray here.
        cpus: CPUs that a Ray started here announces; at least those that this process may use.
        gpus: GPUs per cell.
        show: whether to show Ray's own messages.
        device: of a sweep on this machine; `cuda:1` gives Ray that GPU alone.

    Raises ValueError if this machine has fewer GPUs, or if Ray cannot start on it.
    """
    check_places(local=address is None)
    if address is not None:
        require_answer(address)
    local: dict[str, Any] = {}
    if address is None:
        local = {"num_cpus": max(cpus, usable_cpus()), "include_dashboard": False}
        keep_token_without_home()
    with ExitStack() as stack:
        stack.enter_context(settings(local=address is None))
        # Workers import packages from the folder that Ray is started in. Start it in the program's,
        # as the user's folder may contain a model.py.
        with writing_explained(), signals_kept_from_ray(), chdir(ROOT), only_gpu(address, device):
            ray.init(
                # Without an address Ray would connect to any cluster that it finds here.
                address=address or "local",
                log_to_driver=show,
                logging_level=logging.INFO if show else logging.ERROR,
                **local,
            )
        if not show:
            stack.enter_context(silence())
        stack.callback(ray.shutdown)
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        there = resources.get("GPU", 0.0)
        if address is None and there < gpus:
            raise ValueError(
                f"a cell needs {gpus:g} GPUs, this machine has {there:g}; lower --gpus"
            )
        yield


def check_places(*, local: bool) -> None:
    """`refuse_places` for this process; raises ValueError as well if Ray cannot be used in it."""
    if sys.flags.optimize >= _WITHOUT_DOCSTRINGS:
        raise ValueError(
            "Ray needs its docstrings, which `python -OO` and PYTHONOPTIMIZE=2 remove; "
            "unset PYTHONOPTIMIZE"
        )
    if ray.is_initialized():
        raise ValueError(
            "this process is connected to Ray already, and a sweep makes a connection of its own; "
            "call ray.shutdown() first, or run the sweep in another process"
        )
    try:
        Path.home()
    except RuntimeError:
        raise ValueError(
            "this user has no home folder, which Ray needs; set HOME to a folder, for example /tmp"
        ) from None
    temporary: str = get_default_system_temp_dir()  # type: ignore[no-untyped-call]
    refuse_places(Path(sys.executable), Path(temporary), local=local)


def refuse_places(python: Path, temporary: Path, *, local: bool) -> None:
    """Refuses paths that Ray cannot work with: it would hang or fail without a useful message.

    Args:
        python: the interpreter.
        temporary: the folder in which Ray creates its sockets.
        local: whether Ray will be started on this machine.

    Raises ValueError with the remedy.
    """
    special = sorted({sign for sign in str(python) if sign.isspace() or sign in _SHELL})
    if special:
        raise ValueError(
            f"Ray starts its workers through a shell, which does not take {str(python)!r} as one "
            f"word because of {' '.join(map(repr, special))}; move the checkout to a path without "
            "spaces and such signs"
        )
    if not local:
        return
    if any(map(str.isspace, str(temporary))):
        raise ValueError(
            f"Ray cannot use the temporary folder {str(temporary)!r}, which contains a space; set "
            "RAY_TMPDIR to another, for example /tmp"
        )
    socket = os.fsencode(temporary / _LONGEST_SOCKET)
    if len(socket) > _MOST_SOCKET_BYTES:
        most = _MOST_SOCKET_BYTES - len(_LONGEST_SOCKET) - 1
        raise ValueError(
            f"the path of the temporary folder {temporary} is too long for Ray's sockets: "
            f"{len(os.fsencode(temporary))} bytes, at most {most} are allowed; set RAY_TMPDIR to a "
            "shorter one, for example /tmp"
        )


def require_answer(address: str) -> None:
    """Raises ValueError if nothing listens at `host:port`; Ray itself would try for minutes.

    Other addresses, such as `auto`, are left to Ray.
    """
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdecimal():
        return
    try:
        create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"no Ray cluster answers at {address} ({error}); start one there with `ray start "
            "--head`, or leave --address out to train on this machine"
        ) from error


@contextmanager
def only_gpu(address: str | None, device: str) -> Iterator[None]:
    """Ray processes that start inside the block on this machine see only the device's GPU."""
    gpu = None if address else visible_gpu(device)
    if gpu is None:
        yield
        return
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = gpu
    try:
        yield
    finally:
        del os.environ[VISIBLE]
        if before is not None:
            os.environ[VISIBLE] = before


def keep_token_without_home() -> None:
    """Gives Ray a token for this process if it cannot keep one in the user's home folder.

    Ray makes a token in ~/.ray for whoever connects to the cluster. A container with an unknown
    user often has a home that cannot be written to; the environment passes the token on instead.
    """
    folder = Path.home() / ".ray"
    place = folder if os.access(folder, os.F_OK) else folder.parent
    kept = os.access(folder / "auth_token", os.R_OK) or os.access(place, os.W_OK | os.X_OK)
    if not kept and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


@contextmanager
def writing_explained() -> Iterator[None]:
    """Turns missing write permission into a ValueError that says what to set."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise ValueError(
            f"Ray cannot start: {error}; it writes to ~/.ray and to a temporary folder: set HOME "
            "and RAY_TMPDIR to folders that this user can write to"
        ) from error


@contextmanager
def signals_kept_from_ray() -> Iterator[None]:
    """Puts Ray processes that start inside the block into a process group of their own.

    A shell, `timeout` or a closed terminal ends the sweep by a signal to its process group. Ray's
    processes would be gone before the cells had saved their progress.
    """
    services: Any = ray._private.services
    usual = services.ConsolePopen
    # On other systems Ray uses the group to find leftover processes.
    if sys.platform == "linux":
        services.ConsolePopen = partial(usual, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = usual


def cluster_size() -> ClusterSize:
    """The machines of the cluster that can train, and those that its autoscaler may add.

    The autoscaler does not report what it may add, so its configuration file is read. That works
    only if the driver runs on the head.
    """
    types: tuple[Machines, ...] = ()
    most = None
    path = Path.home() / CLUSTER_YAML
    if _is_head() and path.exists():
        try:
            types, most = node_types(yaml.safe_load(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
            logger.warning("cannot read from %s which workers may be added: %s", path, error)
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
    """Names of the machines that can train but do not see a folder of this machine.

    A node that does not answer or cannot run this code is not included.
    Raises OSError if the folder cannot be written to.
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
    """Whether the path exists on this machine."""
    return Path(path).exists()


def _sees(answer: Any, machine: str) -> bool:
    try:
        return bool(ray.get(answer))
    except RayError as error:
        logger.debug("cannot ask %s whether it sees the folder: %s", machine, error)
        return True


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]


def _is_head() -> bool:
    """Whether the driver runs on the cluster's head."""
    mine = ray.get_runtime_context().get_node_id()
    return any(node["NodeID"] == mine and _HEAD in node["Resources"] for node in _nodes())
