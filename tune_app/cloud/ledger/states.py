"""The states of an attempt to rent, what is known of it, and which statuses mean silence."""

from __future__ import annotations

import enum
from dataclasses import dataclass

NOT_YET = frozenset({"", "created", "loading", "scheduling"})
GPU_NOT_BILLED = frozenset({"stopped", "offline"})
"""Vast.ai bills the GPU of one that runs or is frozen, and not while its image loads. Until the
charges say so, every state but these counts as billed: the cap must not depend on a document."""


def is_silent(status: str) -> bool:
    """Whether an instance shows no activity: unknown, offline, frozen, or a status never seen.

    One that is still starting does not count as silent.
    """
    return status != "running" and status not in NOT_YET


class RequestState(enum.Enum):
    """The state of an attempt to rent. Recorded before each step is taken."""

    SENDING = "sending"
    """The API may be carrying it out."""
    UNCERTAIN = "uncertain"
    """Sent, without an answer: its label is being looked for."""
    RENTED = "rented"
    FAILED = "failed"
    """It rented nothing; an instance that appears all the same has no owner."""
    ENDED = "ended"
    """It was rented, and is destroyed."""

    @property
    def in_flight(self) -> bool:
        return self in (RequestState.SENDING, RequestState.UNCERTAIN)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of the attempt that an instance's label names."""

    state: RequestState
    contract: int | None
    bid: float
    storage_per_hour: float
    since: float
    """When the instance was rented, or the request sent: seconds since 1970."""
    silent_since: float | None
    """Since when it shows no activity."""
    link_up: bool | None
    """Whether its link to the head is open; None if unknown."""
    answer_pending: bool
    """This process itself waits for the API's answer to the request."""
    doomed: str
    """Why it is to be destroyed; empty if it is not."""
    unlinked_since: float | None = None
    """Since when this process finds its link closed; None if it is open or unknown."""
    gpu: str = ""
    """The model that was offered; empty if it is not known."""
    linked: bool = False
    """Whether this process ever saw its link open."""
