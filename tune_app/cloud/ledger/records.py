"""The rows of the ledger's tables."""

from __future__ import annotations

from dataclasses import dataclass

from tune_app.cloud.ledger.endings import Ending, EndKind
from tune_app.cloud.ledger.states import RequestState

SETTLED_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at a request; it rents at most one instance."""

    id: str
    request: str
    node_type: str
    k: int
    label: str
    state: RequestState
    reason: str
    offer: int
    machine: int
    gpu: str
    cpus: float
    bid: float
    storage_per_hour: float
    bandwidth_per_hour: float
    setup: float
    sent_at: float
    contract: int | None


@dataclass(frozen=True, kw_only=True)
class Rental:
    """An instance, its hours and its dollars."""

    contract: int
    attempt: str | None
    """None for an instance that this cluster did not request."""
    since: float
    counted_to: float
    status: str
    silent_since: float | None
    ran: bool
    gpu_per_hour: float
    storage_per_hour: float
    bandwidth_per_hour: float
    hours: float
    gpu_hours: float
    estimated: float
    charged: float | None
    charged_at: float | None
    unforeseen: float
    """By how much the charges exceeded the estimate when last queried."""
    doomed: str
    ended_at: float | None
    ended_reason: str
    ended_by: EndKind | None
    """What ends it, from when that is decided; None before, and where it is unknown."""

    @property
    def doom(self) -> Ending | None:
        """How it is to end; None while it is to stay."""
        if self.ended_by is None or not self.doomed:
            return None
        return Ending(kind=self.ended_by, reason=self.doomed)

    @property
    def by_charges_alone(self) -> bool:
        """Whether another ledger had its record, and nothing but the charges is known of it."""
        return self.ended_at is not None and self.ended_by is None

    @property
    def dollars(self) -> float:
        """Charges arrive late, and estimates can be too low: the larger one counts.

        A day after the end the charges are complete, and they alone count.
        """
        if self.charged is None or self.charged_at is None or self.ended_at is None:
            settled = False
        else:
            settled = self.charged_at - self.ended_at > SETTLED_S
        return (self.charged or 0.0) if settled else self.estimated + self.unforeseen

    @property
    def per_hour(self) -> float:
        return self.gpu_per_hour + self.storage_per_hour + self.bandwidth_per_hour
