"""What ends a rented machine, as the ledger keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class EndKind(str, Enum):
    """What ends a rented machine."""

    TAKEN_AWAY = "taken_away"
    """Its host or its market: it was outbid, or is lost. An interruption."""
    RETURNED = "returned"
    """This cluster: it is not wanted any more, or was not as agreed, or never came to work."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a rented machine ends."""

    kind: EndKind
    reason: str
    """For people."""

    def __str__(self) -> str:
        return self.reason


def taken_away(reason: str) -> Ending:
    """The ending of a machine that its host or its market took away."""
    return Ending(kind=EndKind.TAKEN_AWAY, reason=reason)


def returned(reason: str) -> Ending:
    """The ending of a machine that this cluster gives back."""
    return Ending(kind=EndKind.RETURNED, reason=reason)
