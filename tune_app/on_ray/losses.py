"""Why a process was lost: what Ray, the node and the node's kernel know about it."""

from __future__ import annotations

import logging
import re
import socket
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tune_app.memory_events import oom_kills
from tune_app.records import FailureClass

logger = logging.getLogger(__name__)

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_CREATION = "error raised in its creation task"
"""In Ray's message where a process cannot even be set up, as when an import fails."""
_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 4.0
"""For a node to answer; the driver and with it every cell waits so long."""


@dataclass(frozen=True, kw_only=True)
class Pulse:
    """What was heard of a cell last."""

    host: str = ""
    tokens: int = 0
    stride: int = 0
    """Tokens since the report before."""
    oom_kills: int | None = None


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A lost process, explained as far as it can be."""

    kind: FailureClass
    reason: str
    cause: str = ""
    """On the host's side; empty where none is known."""


def diagnose(error: BaseException | None, pulse: Pulse) -> Loss:
    """Says what a process was lost to. Asks its node, and waits some seconds for the answer.

    Args:
        error: what Tune was told.
        pulse: the last report of the process.
    """
    if isinstance(error, ActorDiedError) and _CREATION in str(error):
        return Loss(kind=FailureClass.CODE, reason=_plain(error)[-1])
    reason = "the process was lost"
    if error is not None:
        reason = f"{type(error).__name__}: {(_plain(error) or [''])[0]}"
    kind, cause = _by_the_error(error) or _by_the_node(pulse) or (FailureClass.HOST, "")
    if not cause and isinstance(error, ActorUnavailableError):
        kind, cause = FailureClass.NETWORK, "its node lives, the link was cut"
    return Loss(kind=kind, reason=reason, cause=cause)


def _by_the_error(error: BaseException | None) -> tuple[FailureClass, str] | None:
    """(class, cause) where Ray itself ended the process."""
    if isinstance(error, OutOfMemoryError):
        return FailureClass.MEMORY, "Ray ended it, as the memory ran out"
    if isinstance(error, ActorDiedError) and error.preempted:
        return FailureClass.HOST, "its node was taken back"
    return None


def _by_the_node(pulse: Pulse) -> tuple[FailureClass, str] | None:
    """(class, cause) where the node died, does not answer or ran out of memory."""
    if not pulse.host:
        return None
    node = _node(pulse.host)
    if node is None:
        return FailureClass.HOST, "its node died"
    try:
        # Quicker than Ray, which declares a node dead after seconds without a sign of life.
        address = (node["NodeManagerAddress"], node["NodeManagerPort"])
        socket.create_connection(address, timeout=_CONNECT_SECONDS).close()
    except ConnectionRefusedError:
        return FailureClass.HOST, "its node died"
    except OSError:
        return FailureClass.NETWORK, "its node does not answer"
    kills = _oom_kills_on(str(node["NodeID"])) if pulse.oom_kills is not None else None
    if kills is not None and pulse.oom_kills is not None and kills > pulse.oom_kills:
        return FailureClass.MEMORY, "its cgroup counted an OOM kill"
    return None


def _node(host: str) -> dict[str, Any] | None:
    """What Ray knows of a live node, by its name in reports."""
    prefix = host.rpartition("/")[2]
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    for node in nodes:
        if prefix and node["Alive"] and str(node["NodeID"]).startswith(prefix):
            return node
    return None


def _oom_kills_on(node: str) -> int | None:
    """What a node's cgroup has counted; None where nobody counts, or no answer comes."""
    if node == ray.get_runtime_context().get_node_id():
        return oom_kills()
    question: Any = ray.remote(num_cpus=0, max_retries=0)(oom_kills)
    pinned = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    answer = question.options(scheduling_strategy=pinned).remote()
    try:
        counted: int | None = ray.get(answer, timeout=_ANSWER_SECONDS)
    except (RayError, TimeoutError) as error:
        logger.debug("node %s does not answer: %s", node, error)
        ray.cancel(answer, force=True)
        return None
    return counted


def _plain(error: BaseException) -> list[str]:
    """The lines of an error's text without its colours."""
    return [line for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
