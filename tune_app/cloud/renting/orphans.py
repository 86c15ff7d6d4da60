"""Which of a cluster's instances nothing owns. Pure, with reasons.

It is asked beside a living cluster, by whoever has the account's key: what may have an owner stays.
"""

from __future__ import annotations

from dataclasses import dataclass

from tune_app.cloud.market.labels import Label
from tune_app.cloud.market.records import Instance

SPARE_S = 3_600.0
"""How long after its time an instance may still be about to end itself."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """What a head that answers says it has. Asked after the instances were listed: it records each
    request before it sends it."""

    head: str
    """Its id; empty for a head of an earlier version."""
    contracts: frozenset[int]
    """Those that it keeps, or is about to end."""
    requests: frozenset[str]
    """Those whose outcome it does not know yet."""


def may_be_of(instance: Instance, cluster: str, head: str) -> bool:
    """Whether a head of this id may have asked for an instance."""
    label = Label.parse(instance.label)
    return label is not None and label.may_be_of(cluster, head)


def orphaned(
    instance: Instance, *, cluster: str, owner: Owner | None, now: float, life_s: float
) -> str:
    """Why nothing owns an instance; empty if something does, or may.

    Args:
        owner: the cluster's head, if it answers.
        now: seconds since 1970.
        life_s: after which an instance ends itself.
    """
    label = Label.parse(instance.label)
    if label is None or label.cluster != cluster:
        return ""
    if instance.is_stopped:
        return "stopped: it trains nothing, and its storage bills"
    if instance.started and now - instance.started > life_s + SPARE_S:
        return f"it should have ended itself after {life_s / 3600:g} h"
    if owner is None or not label.may_be_of(cluster, owner.head):
        return ""
    if instance.id in owner.contracts or label.attempt.rpartition(".")[0] in owner.requests:
        return ""
    return "its head does not know it"
