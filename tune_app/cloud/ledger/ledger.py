"""Requests, rented instances and what they cost, in one SQLite file.

Every change is one transaction, on the disk when the call returns, and written before the action
that it announces: after a crash, each request that may have reached the API is known. One process
writes (`tune_app.cloud.daemon` holds the lock); others may read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from tune_app.cloud.errors import FullError, InFlightError
from tune_app.cloud.ledger.accounts import AccountsStore
from tune_app.cloud.ledger.endings import Ending, returned
from tune_app.cloud.ledger.file import open_file
from tune_app.cloud.ledger.hours import counted
from tune_app.cloud.ledger.launches import LaunchesStore
from tune_app.cloud.ledger.records import Attempt, Rental
from tune_app.cloud.ledger.states import RequestState, is_silent
from tune_app.cloud.market.labels import Label
from tune_app.cloud.market.records import Charge, Instance, Quote


class Ledger(LaunchesStore, AccountsStore):
    """The ledger of one cluster. Thread-safe.

    Methods that change it raise LedgerUnwritableError, and change nothing, if it cannot be written.
    """

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        cluster: str,
        slots: Iterable[int],
        clock: Callable[[], float] = time.time,
    ) -> Ledger:
        """The ledger at `path`, created if missing.

        Args:
            slots: the numbers k that may be handed out.

        Raises LedgerError if it is another cluster's, a newer program's, or not a ledger, and
        LedgerUnwritableError if the disk is full.
        """
        connection = open_file(path, cluster=cluster, slots=slots)
        return cls(connection, folder=path.parent, clock=clock)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Requests

    def reserve(
        self,
        request: str,
        *,
        cluster: str,
        node_type: str,
        quote: Quote,
        at_most: int,
        head: str = "",
    ) -> Attempt:
        """Records that a request is about to be sent, with a k of its own.

        Raises InFlightError if the request is already being carried out, and FullError if
        `at_most` ks are in use.
        """
        with self._transaction():
            previous = self.latest(request)
            if previous is not None and (
                previous.state.in_flight or previous.state is RequestState.RENTED
            ):
                raise InFlightError(
                    f"request {request} is {previous.state.value} since "
                    f"{self._clock() - previous.sent_at:.0f} s; wait for its outcome"
                )
            self.refuse_full(at_most)
            # The k that has been free for longest: by now its last owner is gone.
            free = self._connection.execute(
                "SELECT k FROM slots WHERE attempt IS NULL ORDER BY freed_at, k LIMIT 1"
            ).fetchone()
            tries = self._count("SELECT COUNT(*) FROM attempts WHERE request = ?", request)
            name = f"{request}.{tries + 1}"
            label = Label(
                cluster=cluster, node_type=node_type, k=free["k"], attempt=name, head=head
            )
            self._insert(
                "attempts",
                id=name,
                request=request,
                node_type=node_type,
                k=label.k,
                label=label.text,
                state=RequestState.SENDING.value,
                offer=quote.offer.id,
                machine=quote.offer.machine_id,
                gpu=quote.offer.gpu_name,
                cpus=quote.offer.cpus,
                bid=quote.bid,
                storage_per_hour=quote.storage_per_hour,
                bandwidth_per_hour=quote.bandwidth_per_hour,
                setup=quote.setup,
                sent_at=self._clock(),
            )
            self._connection.execute("UPDATE slots SET attempt = ? WHERE k = ?", [name, label.k])
        return self.attempt(name)

    def refuse_full(self, at_most: int) -> None:
        """Raises FullError if `at_most` ks are in use, or none is free."""
        used = self._count("SELECT COUNT(*) FROM slots WHERE attempt IS NOT NULL")
        if used >= min(at_most, self._count("SELECT COUNT(*) FROM slots")):
            raise FullError(
                f"{used} workers are rented or requested, the limit is {at_most}; "
                "raise max_instances, or wait for one to end"
            )

    def rented(self, attempt: str, contract: int) -> Attempt:
        """Records that an attempt rented an instance: from the API's answer, or by its label."""
        with self._transaction():
            made = self.attempt(attempt)
            if made.state is RequestState.RENTED and made.contract == contract:
                return made
            assert made.state.in_flight, made
            self._set_state(attempt, RequestState.RENTED, "")
            self._connection.execute(
                "UPDATE attempts SET contract = ? WHERE id = ?", [contract, attempt]
            )
            self._add_instance(contract, made, since=made.sent_at)
            self._launched(made.node_type, succeeded=True, reason="")
        return self.attempt(attempt)

    def uncertain(self, attempt: str, reason: str) -> None:
        with self._transaction():
            self._set_state(attempt, RequestState.UNCERTAIN, reason)

    def failed(
        self, attempt: str, reason: str, *, contract: int | None = None, counts: bool = True
    ) -> None:
        """Records that an attempt failed, and frees its k.

        Args:
            contract: an instance that was created all the same, and is to be destroyed.
            counts: whether the next launch has to wait for it.
        """
        with self._transaction():
            made = self.attempt(attempt)
            self._set_state(attempt, RequestState.FAILED, reason)
            if counts:
                self._launched(made.node_type, succeeded=False, reason=reason)
            if contract is None:
                self._free(attempt)
            else:
                self._add_instance(contract, made, since=made.sent_at)
                self._doom(contract, returned(reason))

    def latest(self, request: str) -> Attempt | None:
        """The newest attempt at a request."""
        return next(
            iter(self._attempts("WHERE request = ? ORDER BY rowid DESC LIMIT 1", request)), None
        )

    def in_flight(self) -> list[Attempt]:
        """Attempts with an unknown outcome."""
        return self._attempts(
            "WHERE state IN (?, ?) ORDER BY rowid",
            RequestState.SENDING.value,
            RequestState.UNCERTAIN.value,
        )

    def standing(self) -> tuple[list[Rental], list[Attempt]]:
        """All that bills or may: live instances, and attempts in flight, at the same moment.

        Read one after the other, an attempt that becomes an instance meanwhile would be in neither.
        """
        with self._lock:
            return self.live(), self.in_flight()

    # Instances

    def observe(self, instance: Instance) -> None:
        """Records an instance's state, and counts its hours and dollars until now.

        Time between two lists counts as running if it ran in either. It costs what is listed, where
        that is more than what was agreed, and it has existed for as long as the market says.
        """
        now = self._clock()
        with self._transaction():
            known = self.rental(instance.id)
            if known is None or known.ended_at is not None:
                return
            listed = (instance.dollars_per_hour or 0.0) - instance.storage_per_hour
            if listed > known.gpu_per_hour:
                self._connection.execute(
                    "UPDATE instances SET gpu_per_hour = ? WHERE contract = ?",
                    [listed, instance.id],
                )
                known = replace(known, gpu_per_hour=listed)
            status = "stopped" if instance.is_stopped else instance.status
            self._count_to(known, now, also=status, started=instance.started)
            silent = is_silent(instance.status)
            self._connection.execute(
                "UPDATE instances SET status = ?, silent_since = ?, ran = MAX(ran, ?) "
                "WHERE contract = ?",
                [
                    status,
                    (known.silent_since or now) if silent else None,
                    int(instance.status == "running"),
                    instance.id,
                ],
            )

    def foreign(self, instance: Instance) -> None:
        """Records an instance without a request: it costs money too."""
        with self._transaction():
            if self.rental(instance.id) is None:
                # It bills since it was created, not since it was seen.
                since = min(instance.started or self._clock(), self._clock())
                price = instance.dollars_per_hour or 0.0
                self._insert(
                    "instances",
                    contract=instance.id,
                    since=since,
                    counted_to=since,
                    gpu_per_hour=max(price - instance.storage_per_hour, 0.0),
                    storage_per_hour=instance.storage_per_hour,
                    bandwidth_per_hour=0.0,
                )

    def doom(self, contract: int, ending: Ending) -> None:
        """Records that an instance is to be destroyed. The first ending is kept."""
        with self._transaction():
            self._doom(contract, ending)

    def k_of(self, contract: int) -> int | None:
        """The k that an instance holds; None if it never had one, or it is freed."""
        with self._lock:
            row = self._connection.execute(
                "SELECT slots.k FROM slots JOIN instances USING (attempt) WHERE contract = ?",
                [contract],
            ).fetchone()
        return None if row is None else int(row["k"])

    def not_ended(self, contract: int) -> None:
        """Records that an instance that counted as gone still exists, and bills."""
        with self._transaction():
            self._connection.execute(
                "UPDATE instances SET ended_at = NULL WHERE contract = ?", [contract]
            )

    def ended(self, contract: int, ending: Ending) -> None:
        """Records that an instance is gone, and frees its k.

        Args:
            ending: of one that was not to be destroyed.
        """
        with self._transaction():
            known = self.rental(contract)
            assert known is not None, contract
            if known.ended_at is not None:
                return
            now, ending = self._clock(), known.doom or ending
            self._count_to(known, now, also="")
            self._connection.execute(
                "UPDATE instances SET ended_at = ?, ended_by = ?, ended_reason = ? "
                "WHERE contract = ?",
                [now, ending.kind.value, ending.reason, contract],
            )
            if known.attempt is None:
                return
            made = self.attempt(known.attempt)
            if made.state is RequestState.RENTED:
                self._set_state(made.id, RequestState.ENDED, ending.reason)
                is_known = self._is_bad_worker(made.machine, since=made.sent_at)
                if not known.ran and not is_known:
                    self._launched(made.node_type, succeeded=False, reason=ending.reason)
            self._free(made.id)

    def reconcile(self, charges: Iterable[Charge]) -> None:
        """Records what the account was charged, beside the estimate."""
        dollars: dict[int, float] = {}
        for charge in charges:
            dollars[charge.contract] = dollars.get(charge.contract, 0.0) + charge.dollars
        with self._transaction():
            self._connection.executemany(
                "UPDATE instances SET charged = ?1, charged_at = ?2, "
                "unforeseen = MAX(?1 - estimated, 0) WHERE contract = ?3",
                [(total, self._clock(), contract) for contract, total in dollars.items()],
            )

    def spent(self) -> float:
        """Dollars for everything ever rented, until each instance was last seen."""
        return sum(rental.dollars for rental in self.rentals())

    # Whether the cluster is open

    def close_cluster(self, reason: str) -> None:
        """Refuses launches until `open_cluster`. An empty reason opens it."""
        with self._transaction():
            self._connection.execute("UPDATE cluster SET closed = ?", [reason])

    def open_cluster(self) -> None:
        self.close_cluster("")

    def closed(self) -> str:
        """Why the cluster is closed to launches; empty while it is open."""
        with self._lock:
            row = self._connection.execute("SELECT closed FROM cluster").fetchone()
        return str(row["closed"])

    # Inside

    def _add_instance(self, contract: int, made: Attempt, *, since: float) -> None:
        if self.rental(contract) is None:
            self._insert(
                "instances",
                contract=contract,
                attempt=made.id,
                since=since,
                counted_to=since,
                gpu_per_hour=made.bid,
                storage_per_hour=made.storage_per_hour,
                bandwidth_per_hour=made.bandwidth_per_hour,
                estimated=made.setup,
            )

    def _count_to(
        self, known: Rental, now: float, *, also: str, started: float | None = None
    ) -> None:
        more = counted(known, now, also=also, started=started)
        self._connection.execute(
            "UPDATE instances SET counted_to = ?, hours = hours + ?, gpu_hours = gpu_hours + ?, "
            "estimated = estimated + ? WHERE contract = ?",
            [more.to, more.hours, more.gpu_hours, more.dollars, known.contract],
        )

    def _doom(self, contract: int, ending: Ending) -> None:
        self._connection.execute(
            "UPDATE instances SET doomed = ?, ended_by = ? WHERE contract = ? AND doomed = ''",
            [ending.reason, ending.kind.value, contract],
        )

    def _set_state(self, attempt: str, state: RequestState, reason: str) -> None:
        self._connection.execute(
            "UPDATE attempts SET state = ?, reason = ? WHERE id = ?",
            [state.value, reason, attempt],
        )

    def _free(self, attempt: str) -> None:
        self._connection.execute(
            "UPDATE slots SET attempt = NULL, freed_at = ? WHERE attempt = ?",
            [self._clock(), attempt],
        )
