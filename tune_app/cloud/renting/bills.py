"""The bill of a cluster, from its ledger: by machine and by what was paid for. Pure."""

from __future__ import annotations

from tune_app.cloud.ledger.records import Attempt, Rental
from tune_app.cloud.renting.budget import Budget
from tune_app.dollars.bill import Bill, RentedMachine


def bill_of(
    rentals: list[tuple[Rental, Attempt | None]],
    budget: Budget,
    *,
    cluster: str,
    now: float,
    ahead_s: float = 0.0,
    head_per_hour: float | None = None,
) -> Bill:
    """The bill now; each machine's is counted until the ledger last saw it.

    Args:
        rentals: every instance ever rented, with the attempt that rented it.
        budget: of the cluster.
        cluster: its name.
        now: seconds since 1970, by the ledger's clock.
        ahead_s: of that clock, the one by which the bill's times are to be.
        head_per_hour: dollars that the head costs besides; None if that is unknown.
    """
    return Bill(
        cluster=cluster,
        at=now + ahead_s,
        total=sum(rental.dollars for rental, _ in rentals),
        per_hour=budget.per_hour,
        cap=budget.cap,
        head_per_hour=head_per_hour,
        machines=tuple(_machine(rental, attempt, ahead_s) for rental, attempt in rentals),
    )


def _machine(rental: Rental, attempt: Attempt | None, ahead_s: float) -> RentedMachine:
    setup = 0.0 if attempt is None else attempt.setup
    gpu = rental.gpu_hours * rental.gpu_per_hour
    bandwidth = rental.gpu_hours * rental.bandwidth_per_hour
    return RentedMachine(
        contract=rental.contract,
        worker=None if attempt is None else attempt.k,
        machine="" if attempt is None else str(attempt.machine),
        gpu="" if attempt is None else attempt.gpu,
        dollars_per_hour=rental.gpu_per_hour,
        since=rental.since + ahead_s,
        until=rental.counted_to + ahead_s,
        ended_at=None if rental.ended_at is None else rental.ended_at + ahead_s,
        ended_by=rental.ended_reason,
        gpu_dollars=gpu,
        setup=setup,
        # What the ledger's estimate holds besides; it charges storage for stopped hours, too.
        storage=rental.estimated - setup - gpu - bandwidth,
        bandwidth=bandwidth,
        correction=rental.dollars - rental.estimated,
    )
