"""What a journal is told of machines and dollars: runs of the driver, bills, where cells train."""

from __future__ import annotations

from tune_app.dollars.bill import Bill
from tune_app.journal import rows
from tune_app.journal.endings import Ending
from tune_app.journal.plan_writer import PlanWriter
from tune_app.journal.records import Place


class CostWriter(PlanWriter):
    """Writes what is needed to charge each cell: see `tune_app.dollars.accounting`."""

    def begin_run(
        self,
        *,
        dollars_per_hour: float | None = None,
        cells_per_gpu: int | None = None,
        gpu_sharing: str = "",
    ) -> int:
        """Records that a driver begins to train the sweep; returns the run's number, from 1.

        Args:
            dollars_per_hour: the named price of this machine, if it trains.
            cells_per_gpu: cells that share each GPU; None if nobody asked for that.
            gpu_sharing: why that many, and how they share it.
        """
        now = self._clock()
        with self._transaction():
            number = self._connection.execute(
                "INSERT INTO runs (started_at, until, dollars_per_hour, cells_per_gpu, gpu_sharing)"
                " VALUES (?, ?, ?, ?, ?)",
                [now, now, dollars_per_hour, cells_per_gpu, gpu_sharing],
            ).lastrowid
        assert number is not None
        return number

    def extend_run(self, number: int, *, head_dollars_per_hour: float | None = None) -> None:
        """Records that a run still goes on.

        head_dollars_per_hour: of the cluster's head, for the whole run; None leaves what is known.
        """
        with self._transaction():
            self._connection.execute(
                "UPDATE runs SET until = max(until, ?), head_dollars_per_hour ="
                " coalesce(?, head_dollars_per_hour) WHERE number = ?",
                [self._clock(), head_dollars_per_hour, number],
            )

    def end_run(self, number: int, ending: Ending) -> None:
        """Records how a run ended."""
        with self._transaction():
            self._connection.execute(
                "UPDATE runs SET ended_by = ?, ended_reason = ? WHERE number = ?",
                [ending.kind.value, ending.reason, number],
            )

    def keep_bill(self, bill: Bill) -> None:
        """Records the newest bill of a cluster in place of the one before."""
        with self._transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO bills (cluster, record) VALUES (?, ?)",
                [bill.cluster, rows.dump(bill.to_values())],
            )

    def place(self, cell: str, place: Place) -> None:
        """Records the machine that the cell's newest attempt is on."""
        with self._transaction():
            self._connection.execute(
                "UPDATE attempts SET worker = ?, machine = ?, gpu = ?, dollars_per_hour = ?,"
                " contract = ? WHERE arrival = (SELECT max(arrival) FROM attempts WHERE cell = ?)",
                [
                    place.worker,
                    place.machine,
                    place.gpu,
                    place.dollars_per_hour,
                    place.contract,
                    cell,
                ],
            )

    def _end_attempts(self, at: float, *, cell: str | None = None) -> None:
        """Ends the attempts of this sweep's runs that have no end yet; of one cell, or of all."""
        self._connection.execute(
            "UPDATE attempts SET ended_at = max(started_at, ?1) WHERE ended_at IS NULL AND run > 0"
            " AND (?2 IS NULL OR cell = ?2)",
            [at, cell],
        )

    def _end_attempts_as_last_heard(self) -> None:
        """The same where the driver was killed: its cells ended with it, soon after their last sign
        of life."""
        self._connection.execute(
            "UPDATE attempts SET ended_at = max(started_at, coalesce((SELECT at FROM heartbeats"
            " WHERE heartbeats.cell = attempts.cell), 0)) WHERE ended_at IS NULL AND run > 0"
        )
