"""Drains and the account's credit in the ledger, and spending restored without its records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tune_app.cloud.ledger.stays import Stay, note_work, read_stays
from tune_app.cloud.ledger.store import LedgerStore
from tune_app.cloud.market.records import Charge

MEASURED = 5
"""How many of the last drains say how long one takes."""


@dataclass(frozen=True, kw_only=True)
class Credit:
    """What the account's credit says about the spending of this cluster, in dollars."""

    since: float
    """Of the first look, in seconds since 1970."""
    credit: float
    """At the last look."""
    dropped: float
    """The sum of all falls between two looks; payments in between hide none but their own."""
    spent_before: float
    """By this ledger at the first look."""
    others_before: float
    """What others in the account were charged until the first look."""
    others: float
    """The same until the last look."""

    @property
    def spent(self) -> float:
        """What this cluster may have spent."""
        return self.spent_before + self.dropped - max(self.others - self.others_before, 0.0)


class AccountsStore(LedgerStore):
    """The part of the ledger beside instances and requests. Thread-safe."""

    def credit(self) -> Credit | None:
        """As of the last look; None before the first."""
        rows = self._rows("SELECT * FROM credit")
        return Credit(**rows[0]) if rows else None

    def saw_credit(self, credit: float, *, others: float) -> None:
        """Records the account's credit, and what others in it were charged."""
        with self._transaction():
            known = self.credit()
            if known is None:
                self._insert(
                    "credit",
                    since=self._clock(),
                    credit=credit,
                    dropped=0.0,
                    spent_before=sum(rental.dollars for rental in self.rentals()),
                    others_before=others,
                    others=others,
                )
                return
            self._connection.execute(
                "UPDATE credit SET credit = ?, dropped = dropped + ?, others = ?",
                [credit, max(known.credit - credit, 0.0), others],
            )

    def drain(self) -> Mapping[str, Any] | None:
        """The row of the drain that is not over; None if there is none."""
        rows = self._rows("SELECT * FROM drains WHERE is_over = 0 ORDER BY number DESC LIMIT 1")
        return rows[0] if rows else None

    def last_drain(self) -> int:
        """The number of the last drain; 0 if there was none."""
        return self._count("SELECT COALESCE(MAX(number), 0) FROM drains")

    def write_drain(self, **values: object) -> None:
        """Adds a drain, or replaces the one with this number."""
        with self._transaction():
            self._connection.execute("DELETE FROM drains WHERE number = ?", [values["number"]])
            self._insert("drains", **values)

    def measured_saving_s(self) -> float | None:
        """The longest of the last drains' times from the order until all work was saved."""
        rows = self._rows(
            "SELECT ending_since - since AS took FROM drains WHERE saved = 1 "
            "AND ending_since IS NOT NULL ORDER BY number DESC LIMIT ?",
            MEASURED,
        )
        return max((float(row["took"]) for row in rows), default=None)

    def measured_destroy_s(self) -> float | None:
        """The longest of the last drains' times of destruction, for one worker."""
        rows = self._rows(
            "SELECT (ended_at - ending_since) / workers AS took FROM drains WHERE workers > 0 "
            "AND ended_at IS NOT NULL ORDER BY number DESC LIMIT ?",
            MEASURED,
        )
        return max((float(row["took"]) for row in rows), default=None)

    def lost(self) -> str:
        """Why this ledger does not know what was spent before it; empty if it does."""
        return str(self._rows("SELECT lost FROM cluster")[0]["lost"])

    def restore(self, charges: Iterable[Charge]) -> float:
        """Records spending of instances that another ledger knew. Returns its dollars."""
        dollars: dict[int, float] = {}
        for charge in charges:
            dollars[charge.contract] = dollars.get(charge.contract, 0.0) + charge.dollars
        now = self._clock()
        with self._transaction():
            for contract, total in dollars.items():
                if self.rental(contract) is None:
                    self._insert(
                        "instances",
                        contract=contract,
                        since=now,
                        counted_to=now,
                        gpu_per_hour=0.0,
                        storage_per_hour=0.0,
                        bandwidth_per_hour=0.0,
                        charged=total,
                        charged_at=now,
                        unforeseen=total,
                        ended_at=now,
                        ended_reason="known from the charges alone; its record was lost",
                    )
            self._connection.execute("UPDATE cluster SET lost = ''")
        return sum(dollars.values())

    def prune(self, *, before: float) -> None:
        """Forgets failed requests, launches, machines and drains from before then.

        Instances and the requests that rented them stay: they are the bill.
        """
        with self._transaction():
            self._connection.execute(
                "DELETE FROM attempts WHERE sent_at < ? AND state = 'failed' AND id NOT IN "
                "(SELECT attempt FROM instances WHERE attempt IS NOT NULL) AND id NOT IN "
                "(SELECT attempt FROM slots WHERE attempt IS NOT NULL)",
                [before],
            )
            # The last success of each node type says which failures are in a row.
            self._connection.execute(
                "DELETE FROM launches WHERE at < ? AND arrival < COALESCE((SELECT MAX(arrival) "
                "FROM launches AS later WHERE later.node_type = launches.node_type "
                "AND later.succeeded = 1), 0)",
                [before],
            )
            self._connection.execute("DELETE FROM bad_machines WHERE until < ?", [before])
            self._connection.execute(
                "DELETE FROM drains WHERE is_over = 1 AND since < ? AND number < "
                "(SELECT MAX(number) FROM drains)",
                [before],
            )

    def worked(self, contracts: Iterable[int]) -> None:
        """Records that cells train on instances; the first time counts."""
        with self._transaction():
            note_work(self._connection, contracts, self._clock())

    def stays(self) -> list[Stay]:
        """What became of every machine that was rented and ran."""
        with self._lock:
            return read_stays(self._connection)

    def _rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        with self._lock:
            found = self._connection.execute(query, values).fetchall()
        return [{name: row[name] for name in row.keys()} for row in found]  # noqa: SIM118
