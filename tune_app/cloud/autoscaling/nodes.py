"""What the node provider makes of the daemon's answers: pure, and without Ray."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tune_app.cloud.daemon.protocol import DaemonError
from tune_app.cloud.errors import InFlightError, UncertainError
from tune_app.cloud.market.labels import Label
from tune_app.cloud.overlay.addresses import HEAD, LAST
from tune_app.cloud.renting.workers import Node


def checked_nodes(nodes: Iterable[Node], cluster: str) -> dict[str, Node]:
    """Workers by the id that Ray knows them by: the contract's number.

    Raises DaemonError for a list that cannot be true; a worker that is left out would be rented
    once more.
    """
    found: dict[str, Node] = {}
    taken: set[int] = set()
    for node in nodes:
        label = Label.parse(node.label) if isinstance(node.label, str) else None
        if label is None or label.cluster != cluster:
            raise DaemonError(
                f"the cloud daemon lists a worker with the label {str(node.label)[:80]!r}, which "
                f"is not the cluster {cluster!r}'s: see cluster_name"
            )
        odd = isinstance(node.contract, bool) or not isinstance(node.contract, int)
        if odd or str(node.contract) in found:
            raise DaemonError(
                f"the cloud daemon lists instance {node.contract!r} twice, or without a number"
            )
        if node.k != label.k or not HEAD < label.k <= LAST or label.k in taken:
            raise DaemonError(
                f"the cloud daemon lists instance {node.contract} with the number {node.k!r}, "
                "which no worker may have, or another one has"
            )
        found[str(node.contract)] = node
        taken.add(label.k)
    return found


def request_id(launch: str, number: int) -> str:
    """The id of one worker of a launch, which may ask for several."""
    return f"{launch}-{number}"


def launch_of(request: str) -> str:
    """The launch that a request belongs to."""
    return request.rpartition("-")[0] or request


Outcome = Node | OSError | ValueError
"""What a request came to."""


def launch_problem(outcomes: Sequence[Outcome], started: float) -> str | None:
    """What the autoscaler has to learn of a launch; None for nothing.

    It answers a failure by asking again under another id. So where the outcome of one request is
    not known, nothing is told: the launch stays pending, the worker is taken when it is listed,
    and otherwise Ray repeats the same id, which rents nothing twice. A worker that was rented
    before the launch started is none of it: it was listed, and given to somebody, before.

    Args:
        started: when the launch was, in seconds since 1970.
    """
    if any(isinstance(item, (UncertainError, InFlightError, DaemonError)) for item in outcomes):
        return None
    problems = [str(item) for item in outcomes if isinstance(item, Exception)]
    problems += [
        f"request {item.request} has its worker already: instance {item.contract}"
        for item in outcomes
        if isinstance(item, Node) and item.since < started
    ]
    return "; ".join(dict.fromkeys(problems)) or None
