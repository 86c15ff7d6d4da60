"""Failed launches and bad machines in the ledger.

A launch fails by an error, or by a bad worker. An error is forgotten with the next launch that
rents something. A bad worker is not, since renting still succeeds afterwards: it is forgotten when
a later worker has proved itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from tune_app.cloud.ledger.store import LedgerStore


class LaunchesStore(LedgerStore):
    """The part of the ledger on launches that failed, and on machines to avoid. Thread-safe."""

    def launch_failed(self, node_type: str, reason: str) -> None:
        """Records that a launch failed before anything was sent."""
        with self._transaction():
            self._launched(node_type, succeeded=False, reason=reason)

    def launch_failures(self, node_type: str) -> tuple[int, float, str]:
        """Failures in a row until now, when the last one was, and its reason."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT at, arrival, reason FROM launches WHERE node_type = ?1 AND arrival > "
                "(SELECT COALESCE(MAX(arrival), 0) FROM launches WHERE node_type = ?1 "
                "AND succeeded = 1) "
                "UNION ALL SELECT at, 0, reason FROM bad_workers WHERE node_type = ?1 "
                "ORDER BY at DESC, arrival DESC",
                [node_type],
            ).fetchall()
        return (len(rows), rows[0]["at"], rows[0]["reason"]) if rows else (0, 0.0, "")

    def bad_worker(self, contract: int, reason: str, *, never_linked: bool = False) -> None:
        """Records that an instance was bad, which counts as a failed launch."""
        with self._transaction():
            known = self.rental(contract)
            if known is None or known.attempt is None:
                return
            made = self.attempt(known.attempt)
            if not self._is_bad_worker(made.machine, since=made.sent_at):
                self._insert(
                    "bad_workers",
                    node_type=made.node_type,
                    machine=made.machine,
                    reason=reason,
                    at=self._clock(),
                    never_linked=int(never_linked),
                )

    def machines_never_linked(self) -> int:
        """The number of machines on which a link never opened, since the last one that did."""
        return self._count("SELECT COUNT(DISTINCT machine) FROM bad_workers WHERE never_linked = 1")

    def link_opened(self) -> None:
        """Records that a link opened: the head can be reached.

        Links that never opened were the workers' own fault, then.
        """
        with self._transaction():
            self._connection.execute(
                "UPDATE bad_workers SET never_linked = 0 WHERE never_linked = 1"
            )

    def proved(self, contract: int) -> None:
        """Records that an instance is good: bad ones from before it no longer count."""
        known = self.rental(contract)
        if known is None or known.attempt is None:
            return
        made = self.attempt(known.attempt)
        with self._transaction():
            self._connection.execute(
                "DELETE FROM bad_workers WHERE node_type = ? AND at < ?",
                [made.node_type, made.sent_at],
            )

    def avoid(self, machine: int, reason: str, *, seconds: float) -> None:
        """Records that nothing is to be rented on a machine for this long."""
        now = self._clock()
        with self._transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO bad_machines VALUES (?, ?, ?, ?)",
                [machine, reason, now, now + seconds],
            )

    def avoided(self) -> Mapping[int, str]:
        """Machines that are avoided now, with the reason."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT machine, reason FROM bad_machines WHERE until > ?", [self._clock()]
            ).fetchall()
        return {row["machine"]: row["reason"] for row in rows}

    def _launched(self, node_type: str, *, succeeded: bool, reason: str) -> None:
        """Records whether a request rented something. Within a transaction."""
        self._insert(
            "launches",
            node_type=node_type,
            succeeded=int(succeeded),
            reason=reason,
            at=self._clock(),
        )

    def _is_bad_worker(self, machine: int, *, since: float) -> bool:
        """Whether a worker rented then on a machine is recorded as bad."""
        found = self._connection.execute(
            "SELECT 1 FROM bad_workers WHERE machine = ? AND at >= ?", [machine, since]
        ).fetchone()
        return found is not None
