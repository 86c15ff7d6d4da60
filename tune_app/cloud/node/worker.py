"""Starts Ray on a worker, and returns when it runs there.

python -m tune_app.cloud.node.worker

The head runs it over SSH, with the environment that its autoscaler gives: RAY_HEAD_IP,
RAY_CLOUD_INSTANCE_ID, RAY_NODE_TYPE_NAME, RAY_OVERRIDE_RESOURCES; and STELLUX_K, STELLUX_CPUS and
STELLUX_CLUSTER of this project's. Ray stays when the session ends.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from cyclopts import App

from tune_app.cloud.node.processes import alive, end_marked, mark_of, marked, programs
from tune_app.cloud.node.resources import cgroup_cpus, object_store, usable_cpus, without_measured
from tune_app.cloud.node.starting import (
    RayStartError,
    last_lines,
    ray_environment,
    start_ray,
    wait_for,
)
from tune_app.cloud.node.token import check_token
from tune_app.cloud.overlay.addresses import HEAD, address
from tune_app.cloud.overlay.ray_arguments import worker_arguments
from tune_app.command_line import run_command

MODULE = "tune_app.cloud.node.worker"

DIED = 1

TRIES = 2
"""Ray gives its raylet 30 s to register, which a busy machine may miss. One that gives up is ended,
and the next one's set-up is paid for."""

logger = logging.getLogger(MODULE)  # run as a command, __name__ is another

app = App(name=f"python -m {MODULE}", help_format="plaintext", version_flags=[])


@app.default
def main(
    *,
    head_s: float = 60.0,
    start_s: float = 120.0,
    again_s: float = 10.0,
    stop_s: float = 5.0,
    gcs_port: int = 6379,
    k_file: Path = Path("/root/.stellux/k"),
) -> int:
    """Start Ray on this worker.

    Exit code 0: it runs. 1: it does not start, or does not stay. 2: something is to be set right
    first.

    Parameters
    ----------
    head_s
        Seconds to wait for the head's Ray.
    start_s
        Seconds within which Ray must have started.
    again_s
        Seconds after which it must still run.
    stop_s
        Seconds that an earlier Ray's processes have to end before they are killed.
    gcs_port
        Of the head's Ray.
    k_file
        The worker's number, where STELLUX_K does not say it.
    """
    logging.getLogger("tune_app").setLevel(logging.INFO)
    told = worker_node(os.environ, k_file)
    try:
        start_worker(
            told,
            os.environ,
            gcs_port=gcs_port,
            head_s=head_s,
            start_s=start_s,
            again_s=again_s,
            stop_s=stop_s,
        )
    except RayStartError as error:
        logger.error("%s", error)
        return DIED
    return 0


@dataclass(frozen=True, kw_only=True)
class WorkerNode:
    """Which worker this is."""

    cluster: str
    k: int
    head: str
    """The address at which the head's Ray is found."""
    offered_cpus: int | None
    """Of the offer; None if unknown."""


def worker_node(environment: Mapping[str, str], k_file: Path) -> WorkerNode:
    """Raises ValueError naming the variable that is missing or no number."""
    text = environment.get("STELLUX_K", "")
    if not text and k_file.is_file():
        text = k_file.read_text("utf-8").strip()
    if not text:
        raise ValueError(
            f"neither STELLUX_K nor {k_file} says which worker this is; its node provider sets it"
        )
    k = _number("the worker's number", text)
    address(k)
    if k == HEAD:
        raise ValueError(f"the worker's number is {k}, the head's; it must be {HEAD + 1} or more")
    cpus = environment.get("STELLUX_CPUS", "")
    return WorkerNode(
        cluster=environment.get("STELLUX_CLUSTER", "") or "stellux",
        k=k,
        head=environment.get("RAY_HEAD_IP", "") or address(HEAD),
        offered_cpus=_number("STELLUX_CPUS", cpus) if cpus else None,
    )


def start_worker(
    node: WorkerNode,
    given: Mapping[str, str],
    *,
    gcs_port: int,
    head_s: float,
    start_s: float,
    again_s: float,
    stop_s: float,
) -> None:
    """Ends what an earlier Ray left, starts Ray, and looks again whether it lives.

    Args:
        given: the environment of this process.

    Raises RayStartError if the head's Ray does not answer, or this one does not start or stay;
    nothing of it is left then. Raises ValueError and OSError for what is to be set right first.
    """
    check_token(Path.home())
    mark = mark_of(node.cluster, node.k)
    # Trials report it, so that their cells are charged for this machine.
    environment = ray_environment({**given, "STELLUX_K": str(node.k)}, mark=mark)
    resources = without_measured(given.get("RAY_OVERRIDE_RESOURCES"))
    if resources is not None:
        environment["RAY_OVERRIDE_RESOURCES"] = resources
    # First: they hold ports, memory and /dev/shm.
    end_marked(mark, grace_s=stop_s)
    if not wait_for(node.head, gcs_port, timeout_s=head_s):
        raise RayStartError(
            f"the head's Ray does not answer at {node.head}:{gcs_port} after {head_s:g} s: see "
            "stellux-head on the head, and this worker's ~/.stellux/link.log"
        )
    for left in reversed(range(TRIES)):
        try:
            raylet = _started(
                arguments(node, gcs_port=gcs_port),
                environment,
                mark=mark,
                start_s=start_s,
                again_s=again_s,
            )
            break
        except RayStartError as error:
            end_marked(mark, grace_s=stop_s)
            if not left:
                raise
            logger.warning("%s\nonce more", error)
    logger.info("Ray runs on worker %d, process %d", node.k, raylet.pid)


def _started(
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    mark: str,
    start_s: float,
    again_s: float,
) -> psutil.Process:
    """Starts Ray, and returns its raylet when it still lives `again_s` later.

    Raises RayStartError with the raylet's last words; something of Ray may run then.
    """
    began, since = time.monotonic(), time.time()
    logs = Path(environment.get("RAY_TMPDIR", "/tmp")) / "ray" / "session_latest" / "logs"
    try:
        start_ray(words, environment, timeout_s=start_s)
        found = programs(marked(mark))
        if "raylet" not in found:
            raise RayStartError("Ray has started, but no raylet runs")
        raylet = found["raylet"]
        logs = log_folder(raylet) or logs
        while time.monotonic() < began + again_s and alive(raylet):
            time.sleep(0.2)
        if not alive(raylet):
            raise RayStartError(f"the raylet, process {raylet.pid}, died again")
    except RayStartError as error:
        raise RayStartError(f"{error}\n{raylet_log(logs, since=since)}") from None
    return raylet


def arguments(node: WorkerNode, *, gcs_port: int) -> tuple[str, ...]:
    """Of `ray start` on this machine, as it is now."""
    cpus, why = usable_cpus(offered=node.offered_cpus, machine=machine_cpus())
    logger.info("%s", why)
    store = object_store(shm=free_bytes(Path("/dev/shm")), memory=memory_bytes())
    logger.info("an object store of %s bytes: %s", f"{store.size:,}", store.reason)
    return worker_arguments(
        node.k,
        gcs_port=gcs_port,
        cpus=cpus,
        object_store_bytes=store.size,
        object_store_folder=store.folder,
        head=node.head,
    )


def machine_cpus() -> float:
    """CPUs that this machine's processes may use; a container may have a part of one."""
    limit = cgroup_cpus(_read(Path("/sys/fs/cgroup/cpu.max")))
    if limit is None:  # an older kernel's files
        quota = _read(Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))
        period = _read(Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))
        limit = cgroup_cpus(f"{quota} {period}")
    there = float(len(os.sched_getaffinity(0)))
    return there if limit is None else min(there, limit)


def memory_bytes() -> int:
    """Memory that this machine's processes may have together."""
    there = psutil.virtual_memory().total
    for path in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _read(Path("/sys/fs/cgroup") / path)
        if text.isdigit():
            return min(there, int(text))
    return there


def free_bytes(folder: Path) -> int:
    """Of the file system; 0 if it is not there."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize


def log_folder(raylet: psutil.Process) -> Path | None:
    """Where a raylet writes its logs; None if it does not say."""
    try:
        words = raylet.cmdline()
    except psutil.Error:
        return None
    for word in words:
        name, _, value = word.partition("=")
        if name == "--log_dir":
            return Path(value)
    return None


def raylet_log(folder: Path, *, since: float) -> str:
    """The last lines that a raylet wrote in this folder after a time, seconds of the wall clock."""
    found = []
    for path in (folder / "raylet.out", folder / "raylet.err"):
        with suppress(OSError):
            if path.stat().st_mtime >= since and (text := last_lines(path)):
                found.append(f"{path}:\n{text}")
    return "\n".join(found) or f"no raylet wrote anything in {folder}"


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except OSError:
        return ""


def _number(what: str, text: str) -> int:
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        raise ValueError(f"{what} is {text[:80]!r}; a whole number is expected") from None


if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
