"""Who pays what: each cell for its time on a machine, and the rest by what it was for. Pure.

The sum of all parts is the sum of the bills. A machine's GPU hours are paid by the cells that were
on it; cells that share it split each moment equally. What nobody occupied is set-up before the
first cell, idleness after it, or `outside` while the sweep did not run: then the machine worked for
another sweep or waited.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tune_app.dollars.bill import Bill

Attempt = tuple[str, int]
"""Key of a cell, and the number of its attempt."""
_HOUR = 3_600.0


@dataclass(frozen=True, kw_only=True)
class Stay:
    """The time that an attempt at a cell was on a machine."""

    attempt: Attempt
    start: float
    """Seconds since the epoch."""
    end: float
    contract: int | None
    """Of the rented machine; None for the machine that the sweep itself runs on."""
    run: int
    """The run of the sweep, from 1."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a sweep's driver."""

    number: int
    """From 1."""
    started_at: float
    """Seconds since the epoch."""
    until: float
    """When it was last heard of."""
    dollars_per_hour: float | None = None
    """The named price of the machine that it runs and trains on; None if none was named."""
    head_dollars_per_hour: float | None = None
    """The price of the cluster's head that it runs on; None without one, or if none was named."""
    cells_per_gpu: int | None = None
    """Cells that shared each GPU; None if nobody asked for that."""
    gpu_sharing: str = ""
    """Why that many, and how they shared it."""

    @property
    def hours(self) -> float:
        return max(0.0, self.until - self.started_at) / _HOUR

    @property
    def head_dollars(self) -> float:
        """For the head while this run went on."""
        return self.hours * (self.head_dollars_per_hour or 0.0)


@dataclass(frozen=True, kw_only=True)
class Account:
    """What a sweep has cost, in dollars."""

    attempts: Mapping[Attempt, float] = field(default_factory=dict)
    """Of each attempt that was on a machine with a price."""
    idle: float = 0.0
    """GPUs that trained nothing while the sweep ran."""
    setup: float = 0.0
    """Downloads before a machine's first cell, and its GPU until then."""
    storage: float = 0.0
    bandwidth: float = 0.0
    """Both ways."""
    head: float = 0.0
    """The cluster's head while the sweep ran; in no bill."""
    head_is_priced: bool = True
    """Whether that is all of it: False if a run on a cluster knew no price of its head."""
    outside: float = 0.0
    """Of the cluster, while this sweep did not run."""
    billed: float = 0.0
    """The sum of the bills and of the named prices, which the parts must add up to."""

    @property
    def cells(self) -> Mapping[str, float]:
        """By the key of the cell."""
        found: dict[str, float] = defaultdict(float)
        for (cell, _), dollars in self.attempts.items():
            found[cell] += dollars
        return dict(found)

    @property
    def trained(self) -> float:
        """Of all cells together."""
        return sum(self.attempts.values())

    @property
    def spent(self) -> float:
        """What the sweep has cost: all but what lies outside its runs."""
        return self.trained + self.idle + self.setup + self.storage + self.bandwidth + self.head

    @property
    def total(self) -> float:
        return self.spent + self.outside


def account(stays: Iterable[Stay], runs: Sequence[Run], bills: Iterable[Bill]) -> Account:
    """Charges every dollar of the bills, and of the runs with a named price, their heads' too.

    Args:
        stays: of all attempts, those without an end up to now.
        runs: of the sweep.
        bills: the newest one of each cluster that it ran on.
    """
    bills, stays = list(bills), list(stays)
    sums: dict[str, float] = defaultdict(float)
    charged: dict[Attempt, float] = defaultdict(float)
    for machine in [*_own(runs), *(one for bill in bills for one in _rented(bill))]:
        on_it = [stay for stay in stays if machine.holds(stay)]
        _charge(machine, on_it, runs, sums, charged)
    return Account(
        attempts=dict(charged),
        head=sum(run.head_dollars for run in runs),
        head_is_priced=not bills
        or all(
            run.head_dollars_per_hour is not None for run in runs if run.dollars_per_hour is None
        ),
        billed=sum(bill.total for bill in bills)
        + sum(run.hours * (run.dollars_per_hour or 0.0) + run.head_dollars for run in runs),
        **sums,
    )


@dataclass(frozen=True, kw_only=True)
class _Machine:
    """A machine with a price, for as long as it was paid."""

    contract: int | None
    run: int | None
    start: float
    end: float
    hours: float
    """In which the GPU was paid."""
    gpu: float
    setup: float = 0.0
    storage: float = 0.0
    bandwidth: float = 0.0
    unexplained: float = 0.0
    """Paid, though nothing of it was counted."""

    def holds(self, stay: Stay) -> bool:
        if self.contract is not None:
            return stay.contract == self.contract
        return stay.contract is None and stay.run == self.run


def _own(runs: Iterable[Run]) -> Iterable[_Machine]:
    """The machine of each run with a named price."""
    for run in runs:
        if run.dollars_per_hour is not None:
            yield _Machine(
                contract=None,
                run=run.number,
                start=run.started_at,
                end=run.until,
                hours=run.hours,
                gpu=run.hours * run.dollars_per_hour,
            )


def _rented(bill: Bill) -> Iterable[_Machine]:
    """The machines of a bill, each with what the market charged for it in the end."""
    for one in bill.machines:
        counted = one.dollars - one.correction
        scale = one.dollars / counted if counted > 0 else 1.0
        whole = max(0.0, one.until - one.since) / _HOUR
        yield _Machine(
            contract=one.contract,
            run=None,
            start=one.since,
            end=one.until,
            hours=one.gpu_dollars / one.dollars_per_hour if one.dollars_per_hour > 0 else whole,
            gpu=one.gpu_dollars * scale,
            setup=one.setup * scale,
            storage=one.storage * scale,
            bandwidth=one.bandwidth * scale,
            unexplained=0.0 if counted > 0 else one.correction,
        )


def _charge(
    machine: _Machine,
    stays: Sequence[Stay],
    runs: Sequence[Run],
    sums: dict[str, float],
    charged: dict[Attempt, float],
) -> None:
    """Adds a machine's dollars to those of the attempts and to the sums of the rest."""
    hours = _shared(stays, machine)
    occupied = sum(hours.values())
    # Where clocks differ, cells may have been on it for longer than it was paid.
    paid = max(machine.hours, occupied)
    for attempt, part in hours.items():
        charged[attempt] += machine.gpu * part / paid if paid > 0 else 0.0
    free = paid - occupied
    # A machine that loads its image is not paid for its GPU yet.
    began = max(machine.start, machine.end - machine.hours * _HOUR)
    inside = min(max(_overlap(began, machine.end, runs) - occupied, 0.0), free)
    before = 0.0
    if machine.contract is not None:
        first = min((stay.start for stay in stays), default=machine.end)
        before = min(max((first - began) / _HOUR, 0.0), inside)
    a_free_hour = machine.gpu / paid if paid > 0 else 0.0
    nothing_counted = machine.gpu if paid <= 0 else 0.0
    length = max(0.0, machine.end - machine.start) / _HOUR
    began_inside = any(run.started_at <= machine.start <= run.until for run in runs)
    watched = _overlap(machine.start, machine.end, runs)
    share = watched / length if length > 0 else float(began_inside)
    sums["setup"] += a_free_hour * before + (machine.setup if began_inside else 0.0)
    sums["idle"] += a_free_hour * (inside - before) + nothing_counted + machine.unexplained * share
    sums["storage"] += machine.storage * share
    sums["bandwidth"] += machine.bandwidth * share
    sums["outside"] += (
        a_free_hour * (free - inside)
        + (0.0 if began_inside else machine.setup)
        + (machine.storage + machine.bandwidth + machine.unexplained) * (1.0 - share)
    )


def _shared(stays: Sequence[Stay], machine: _Machine) -> dict[Attempt, float]:
    """Hours of each attempt on a machine; those at the same time split it equally."""
    clipped = [
        (max(stay.start, machine.start), min(stay.end, machine.end), stay.attempt) for stay in stays
    ]
    clipped = [one for one in clipped if one[1] > one[0]]
    moments = sorted({moment for start, end, _ in clipped for moment in (start, end)})
    found: dict[Attempt, float] = defaultdict(float)
    for start, end in pairwise(moments):
        there = [attempt for began, ended, attempt in clipped if began <= start and end <= ended]
        for attempt in there:
            found[attempt] += (end - start) / _HOUR / len(there)
    return dict(found)


def _overlap(start: float, end: float, runs: Iterable[Run]) -> float:
    """Hours of a span in which the sweep ran. Runs do not overlap each other."""
    return sum(max(0.0, min(end, run.until) - max(start, run.started_at)) / _HOUR for run in runs)
