"""The dollars of a sweep that runs: recorded in its journal, shown, and kept below its limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Self

from tune_app.cluster.daemon import Inquiry
from tune_app.cluster.packing import Packing
from tune_app.dollars.bill import Bill
from tune_app.dollars.limit import Spending, over_limit
from tune_app.journal.costs import account_of
from tune_app.journal.endings import Ending, EndKind
from tune_app.journal.journal import Journal, JournalFullError
from tune_app.journal.records import Place

TICK_S = 2.0
"""Between two looks at what is spent."""


class Purse:
    """Use as a context manager, for as long as machines are paid for the sweep.

    Args:
        journal: receives runs and bills.
        trains: whether anything is left to train; if not, only the newest bill is recorded.
        dollars_per_hour: the named price of this machine.
        sharing: how cells share its GPUs; None if each has one.
        limit: what the sweep may cost in all.
        inquiry: of the daemon that rents the cluster's machines; None where nothing is rented.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        trains: bool = True,
        dollars_per_hour: float | None = None,
        sharing: Packing | None = None,
        limit: float | None = None,
        inquiry: Inquiry | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal, self._trains = journal, trains
        self._price, self._limit, self._inquiry = dollars_per_hour, limit, inquiry
        self._clock = clock
        self._sharing = sharing
        self._run: int | None = None
        self._bill: Bill | None = None
        self._ticked_at = float("-inf")
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self._trains:
            shared = self._sharing
            self._run = self._journal.begin_run(
                dollars_per_hour=self._price,
                cells_per_gpu=None if shared is None else shared.cells,
                gpu_sharing="" if shared is None else shared.reason,
            )
        if self._inquiry is not None:
            self._stack.enter_context(self._inquiry)
        self._record()
        return self

    def __exit__(self, *_: object) -> None:
        if self._inquiry is not None:
            self._inquiry.ask_for_the_bill()
        self._record()
        self._stack.close()

    @property
    def drain(self) -> str | None:
        """Why the cluster wants everything saved now; None if it does not."""
        order = None if self._inquiry is None else self._inquiry.order
        return (
            None if order is None else f"the cluster is about to end its machines: {order.reason}"
        )

    def place(self, *, worker: int | None, machine: str, gpu: str) -> Place:
        """Where an attempt trains, with its price; without a contract as long as a rented machine
        is not on the bill.

        Args:
            worker: number of the cluster's worker; None on any other machine.
            machine: its name.
            gpu: model of its GPU; empty for none.
        """
        if worker is None:
            return Place(machine=machine, gpu=gpu, dollars_per_hour=self._price)
        bill = None if self._inquiry is None else self._inquiry.bill
        rented = [
            one
            for one in (() if bill is None else bill.machines)
            if one.worker == worker and one.ended_at is None
        ]
        if not rented or self._inquiry is None:
            return Place(worker=worker, machine=machine, gpu=gpu)
        newest = max(rented, key=lambda one: one.since)
        self._inquiry.trains_on(newest.contract)
        return Place(
            worker=worker,
            machine=newest.machine,
            gpu=newest.gpu,
            dollars_per_hour=newest.dollars_per_hour,
            contract=newest.contract,
        )

    def look(self) -> tuple[Spending | None, str | None]:
        """What is spent, if anything has a price, and why all cells are to be saved now, if they
        are. Cheap: what is asked too soon again is (None, None)."""
        now = time.monotonic()
        if now - self._ticked_at < TICK_S:
            return None, None
        self._ticked_at = now
        self._record()
        spending = self.spending()
        reason = self.drain
        if reason is None and spending is not None:
            reason = over_limit(spending)
        return spending, reason

    def spending(self) -> Spending | None:
        """The dollars until now; None if nothing has a price."""
        now = self._clock()
        found = account_of(self._journal, now=now if self._run is not None else None)
        if found is None:
            return None
        spent, per_hour = found.spent, self._price or 0.0
        if self._bill is not None:
            # What has come since the bill; machines that wait are paid, too.
            per_hour = self._bill.per_hour
            spent += per_hour * max(0.0, now - self._bill.at) / 3_600
            per_hour += self._bill.head_per_hour or 0.0
        return Spending(spent=spent, per_hour=per_hour, limit=self._limit, head=found.head)

    def ended(self, ending: Ending) -> None:
        """Records how the run ended, once all cells are saved and paused, and tells a daemon that
        wanted it for its dollars."""
        if self._run is not None:
            with suppress(JournalFullError):
                self._journal.end_run(self._run, ending)
        if ending.kind is EndKind.DOLLARS and self._inquiry is not None:
            self._inquiry.saved()

    def _record(self) -> None:
        """Writes how far the run has come, and a bill that is new; later if the disk is full."""
        with suppress(JournalFullError):
            self._write()

    def _write(self) -> None:
        bill = None if self._inquiry is None else self._inquiry.bill
        if self._run is not None:
            head = None if bill is None else bill.head_per_hour
            self._journal.extend_run(self._run, head_dollars_per_hour=head)
        if bill is not None and bill is not self._bill:
            self._journal.keep_bill(bill)
            self._bill = bill
