"""How far an attempt to rent is, what the ledger knows of it, and which statuses mean silence."""

from __future__ import annotations

import enum
from dataclasses import dataclass

NOT_YET = frozenset({"", "created", "loading", "scheduling"})


def is_silent(status: str) -> bool:
    """Whether an instance gives no sign of work: unknown, offline, frozen, or a status yet unheard.

    One that is still starting does not count as silent.
    """
    return status != "running" and status not in NOT_YET


class RequestState(enum.Enum):
    """How far an attempt to rent is. Written before each step is taken."""

    SENDING = "sending"
    """The API may be carrying it out."""
    UNCERTAIN = "uncertain"
    """Sent, and no answer told what became of it: its label is being looked for."""
    RENTED = "rented"
    FAILED = "failed"
    """Nothing is rented by it; an instance that turns up all the same has no owner."""
    ENDED = "ended"
    """Was rented, and is destroyed."""

    @property
    def in_flight(self) -> bool:
        return self in (RequestState.SENDING, RequestState.UNCERTAIN)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the ledger knows of the attempt that an instance's label names."""

    state: RequestState
    contract: int | None
    bid: float
    storage_per_hour: float
    since: float
    """When the instance was rented, or the request sent: seconds since 1970."""
    silent_since: float | None
    """Since when it gives no sign of work."""
    link_up: bool | None
    """Whether its link to the head is open; None where nobody knows."""
    answer_pending: bool
    """This process itself waits for the API's answer to the request."""
    doomed: str
    """Why it is to be destroyed already; empty where it is not."""
    unlinked_since: float | None = None
    """Since when this process finds its link not open; None where it is, or nobody knows."""
    linked: bool = False
    """Whether this process ever saw its link open."""
