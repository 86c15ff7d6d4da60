"""Why a process was lost: what Ray, the node and the node's kernel know about it."""

from __future__ import annotations

import logging
import re
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
_ANSWER_SECONDS = 8.0
"""For a node to answer a question; the driver waits so long."""


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
    answered, kills = _ask(node)
    if not answered and _node(pulse.host) is None:
        return FailureClass.HOST, "its node died"
    if not answered:
        return FailureClass.NETWORK, "its node does not answer"
    if kills is not None and pulse.oom_kills is not None and kills > pulse.oom_kills:
        return FailureClass.MEMORY, "its cgroup counted an OOM kill"
    return None


def _node(host: str) -> str | None:
    """Ray's id of a live node by its name in reports."""
    prefix = host.rpartition("/")[2]
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    for node in nodes:
        if prefix and node["Alive"] and str(node["NodeID"]).startswith(prefix):
            return str(node["NodeID"])
    return None


def _ask(node: str) -> tuple[bool, int | None]:
    """Whether the node answers, and what its cgroup has counted."""
    if node == ray.get_runtime_context().get_node_id():
        return True, oom_kills()
    question: Any = ray.remote(num_cpus=0, max_retries=0)(oom_kills)
    pinned = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    answer = question.options(scheduling_strategy=pinned).remote()
    try:
        return True, ray.get(answer, timeout=_ANSWER_SECONDS)
    except (RayError, TimeoutError) as error:
        logger.debug("node %s does not answer: %s", node, error)
        ray.cancel(answer, force=True)
        return False, None


def _plain(error: BaseException) -> list[str]:
    """The lines of an error's text without its colours."""
    return [line for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
