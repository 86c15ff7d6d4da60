"""The protocol between the daemon and its clients: one line of JSON each way.

Request: {"op": NAME, ...}. Answer: {"ok": true, "result": ...} or
{"ok": false, "error": CLASS, "message": TEXT, ...}, the class one of `tune_app.cloud.errors`.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from tune_app.cloud import errors
from tune_app.cloud.renting.workers import Node

MAXIMUM_REQUEST = 16 * 2**10
MAXIMUM_ANSWER = 4 * 2**20

_ERRORS: Mapping[str, type[Exception]] = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, Exception)
} | {"ValueError": ValueError}


class DaemonError(OSError):
    """The daemon cannot be reached, or fails. The rented machines are then unknown."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of a cluster according to the ledger; the API is not asked."""

    cluster: str
    closed: str
    """Why the cluster is closed to launches; empty while it is open."""
    cap: float
    spent: float
    per_hour: float
    stage: str
    """open, closed, drain or spent: see `tune_app.cloud.renting.budget.Stage`."""
    nodes: tuple[Node, ...]
    in_flight: tuple[str, ...]
    """Requests with an unknown outcome."""
    being_destroyed: Mapping[str, str]
    """Contract → reason."""
    ended: Mapping[str, int]
    """Reason → how many instances ended for it."""
    failures: Mapping[str, str]
    """Node type → its failed launches in a row, and the last reason."""
    avoided: Mapping[str, str]
    """Machine → reason."""
    gpu_hours: float
    looked_at: float | None = None
    """When all instances were last listed, in seconds since 1970."""
    trouble: str = ""
    """Why the last list failed; empty if it did not."""
    spent_by: str = "ledger"
    """Whose count `spent` is: ledger, charges or credit."""
    alerts: tuple[str, ...] = ()
    """What a person has to know now."""
    head: str = ""
    """The head's own id; empty for one that an earlier version brought up."""
    head_per_hour: float | None = None
    """What the head costs, which is in neither `spent` nor `cap`; None if nobody named it."""
    shown_at: str = ""
    """The market's page of what is rented; empty from an earlier version's daemon."""


@dataclass(frozen=True, kw_only=True)
class DrainOrder:
    """What the daemon wants of a driver, whose trials run on its workers.

    A driver asks every few seconds. While `wanted`, it saves and pauses all its cells, starts none,
    and then says `drained`. Once an answer is not `wanted` any more, it continues them.
    """

    number: int
    """Which drain this is; 0 for none."""
    phase: str
    """`saving` (workers still run: save now), `ending` (they are being destroyed), `ended` (none is
    left), or empty for no drain: see `tune_app.cloud.renting.drain`."""
    reason: str
    seconds_left: float
    """Until the workers are destroyed, whether saved or not; 0 unless saving."""
    alerts: tuple[str, ...] = ()
    """What a person has to know now; for the sweep's log, each text once."""

    @property
    def wanted(self) -> bool:
        return bool(self.phase)


def encode(message: Mapping[str, Any], limit: int) -> bytes:
    """A message as a line. Raises ValueError if it is longer than the limit."""
    line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
    if len(line) > limit:
        raise ValueError(f"a message of {len(line):,} bytes; {limit:,} are allowed")
    return line


def decode(line: bytes, limit: int) -> dict[str, Any]:
    """The object in a line. Raises ValueError if it is cut off, too long, or not an object."""
    if not line.endswith(b"\n"):
        raise ValueError(
            f"a message of over {limit:,} bytes" if len(line) >= limit else "a message was cut off"
        )
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("a message that is not JSON") from None
    if not isinstance(message, dict):
        raise ValueError("a message that is not an object")
    return message


def error_message(error: Exception) -> dict[str, Any]:
    """The answer for an error; an unknown class is sent as DaemonError."""
    name = type(error).__name__
    if name not in _ERRORS:
        name = "ValueError" if isinstance(error, ValueError) else "DaemonError"
    return {"ok": False, "error": name, "message": str(error)}


def raise_error(answer: Mapping[str, Any]) -> None:
    """Raises the error that an answer holds, if it holds one."""
    if answer.get("ok") is True and "result" in answer:
        return
    name, message = str(answer.get("error")), str(answer.get("message"))
    if answer.get("ok") is False and name in _ERRORS:
        raise _ERRORS[name](message)
    raise DaemonError(f"the cloud daemon failed: {message if 'error' in answer else answer!r:.200}")


def node_message(node: Node) -> dict[str, Any]:
    return asdict(node)


def read_node(values: object) -> Node:
    """Raises DaemonError for values that are not a node."""
    names = {item.name for item in fields(Node)}
    if not isinstance(values, dict) or set(values) != names:
        raise DaemonError(
            "the cloud daemon describes a worker in a form that this program does not know"
        )
    return Node(**values)


def read_status(values: object) -> Status:
    """Raises DaemonError for values that are not a status."""
    names = {item.name for item in fields(Status)}
    later = {"head", "head_per_hour", "shown_at"}
    if not isinstance(values, dict) or set(values) | later != names:
        raise DaemonError("the cloud daemon's status has a form that this program does not know")
    return Status(
        **{
            **values,
            "nodes": tuple(read_node(node) for node in values["nodes"]),
            "in_flight": tuple(values["in_flight"]),
            "alerts": tuple(values["alerts"]),
        }
    )


def read_drain(values: object) -> DrainOrder:
    """Raises DaemonError for values that are not a drain order."""
    names = {item.name for item in fields(DrainOrder)}
    if not isinstance(values, dict) or set(values) != names:
        raise DaemonError("the cloud daemon's drain has a form that this program does not know")
    return DrainOrder(**{**values, "alerts": tuple(values["alerts"])})
