"""Why a process was lost, from what Ray, the node and the node's kernel know."""

from __future__ import annotations

import logging
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import psutil
import ray
from ray import cloudpickle
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayError
from ray.tune.experiment import Trial
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tune_app.faults.oom_kills import oom_kills
from tune_app.faults.reasons import reason_in
from tune_app.journal.records import FailureClass

logger = logging.getLogger(__name__)

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_CREATION = "error raised in its creation task"
"""In Ray's message when a process cannot be set up, for example because an import fails."""
_ADDRESS = re.compile(r"\bip=([0-9a-fA-F.:]+)")
_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 4.0
"""For a node to answer; meanwhile the driver, and with it every cell, waits."""


@dataclass(frozen=True, kw_only=True)
class Pulse:
    """The latest report about a cell."""

    host: str = ""
    process: int = 0
    tokens: int = 0
    stride: int = 0
    """Largest number of tokens between two reports."""
    oom_kills: int | None = None


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A lost process, explained as far as possible."""

    kind: FailureClass
    reason: str
    cause: str = ""
    """Cause on the host's side; empty if unknown."""
    early: bool = False
    """Whether the process was lost before it could train anything."""
    host: str = ""
    """The host, if it is known better than from the last report."""


def diagnose(error: BaseException | None, pulse: Pulse) -> Loss:
    """Finds out why a process was lost. Asks its node, waiting a few seconds for the answer.

    Args:
        error: the error that Tune received.
        pulse: the last report of the process.
    """
    if of_creation(error):
        host = _host_at(match[1]) if (match := _ADDRESS.search(_plain(error)[0])) else ""
        return Loss(kind=FailureClass.CODE, reason=reason_in(_plain(error)), early=True, host=host)
    reason = "the process was lost"
    if error is not None:
        reason = f"{type(error).__name__}: {(_plain(error) or [''])[0]}"
    kind, cause = _by_the_error(error) or _by_the_node(pulse) or (FailureClass.HOST, "")
    return Loss(kind=kind, reason=reason, cause=cause)


def take_error(trial: Trial) -> BaseException | None:
    """The error that Tune has just handled for a trial; None if it was none of Ray's.

    Read from the file that Tune writes at once: Trial.get_pickled_error reads a copy, which Tune
    makes when it takes a snapshot, and that is hardly ever. Removes the file, so that no later
    failure is taken for this one.
    """
    if trial.pickled_error_file is None:
        return None
    path = Path(trial.pickled_error_file)
    try:
        error: BaseException = cloudpickle.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    path.unlink()
    return error


def of_creation(error: BaseException | None) -> TypeGuard[ActorDiedError]:
    """Whether an error kept a process from being set up."""
    return isinstance(error, ActorDiedError) and _CREATION in str(error)


def _by_the_error(error: BaseException | None) -> tuple[FailureClass, str] | None:
    """(class, cause) if Ray itself ended the process."""
    if isinstance(error, OutOfMemoryError):
        return FailureClass.MEMORY, "Ray ended it because memory ran out"
    if isinstance(error, ActorDiedError) and error.preempted:
        return FailureClass.HOST, "its node was preempted"
    return None


def _by_the_node(pulse: Pulse) -> tuple[FailureClass, str] | None:
    """(class, cause) if the node died or does not answer, or from what it knows of the process."""
    if not pulse.host:
        return None
    node = _node(pulse.host)
    if node is None:
        return FailureClass.HOST, "its node died"
    try:
        # Faster than Ray, which declares a node dead only after seconds without a heartbeat.
        address = (node["NodeManagerAddress"], node["NodeManagerPort"])
        socket.create_connection(address, timeout=_CONNECT_SECONDS).close()
    except ConnectionRefusedError:
        return FailureClass.HOST, "its node died"
    except OSError:
        return FailureClass.NETWORK, "its node does not answer"
    return _by_sight(pulse, _look_on(str(node["NodeID"]), pulse.process))


def _by_sight(pulse: Pulse, seen: Seen | None) -> tuple[FailureClass, str] | None:
    """(class, cause) if the process was killed for lack of memory, or is still alive."""
    if seen is None:
        return None
    before, after = pulse.oom_kills, seen.oom_kills
    if before is not None and after is not None and after > before:
        return FailureClass.MEMORY, "its cgroup counted an OOM kill"
    if seen.lives:
        return FailureClass.NETWORK, "its process is alive, but the connection to it was lost"
    return None


def _node(host: str) -> dict[str, Any] | None:
    """Ray's record of a live node, by its name in reports."""
    prefix = host.rpartition("/")[2]
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    for node in nodes:
        if prefix and node["Alive"] and str(node["NodeID"]).startswith(prefix):
            return node
    return None


def _host_at(address: str) -> str:
    """The name in reports of the node at an address; empty if Ray knows none."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    for node in nodes:
        if node["NodeManagerAddress"] == address:
            return f"{node['NodeManagerHostname']}/{node['NodeID'][:8]}"
    return ""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a node knows about a process that the driver lost."""

    lives: bool
    oom_kills: int | None
    """Counted by its cgroup; None if there is no such counter."""


def look(process: int) -> Seen:
    """The state of a process on this host."""
    try:
        lives = psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        lives = False
    return Seen(lives=lives, oom_kills=oom_kills())


def _look_on(node: str, process: int) -> Seen | None:
    """The state of a process on a node; None if the node does not answer."""
    question: Any = ray.remote(num_cpus=0, max_retries=0)(look)
    pinned = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    answer = question.options(scheduling_strategy=pinned).remote(process)
    try:
        seen: Seen = ray.get(answer, timeout=_ANSWER_SECONDS)
    except (RayError, TimeoutError) as error:
        logger.debug("node %s does not answer: %s", node, error)
        ray.cancel(answer, force=True)
        return None
    return seen


def _plain(error: BaseException) -> list[str]:
    """The lines of an error's message, without colour codes."""
    return [line for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
