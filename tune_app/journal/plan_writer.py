"""What a journal is told of a sweep's plan: its record, its cells, and the rounds of a search."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from tune_app.journal import rows
from tune_app.journal.adoption import AdoptedCell, write_adopted
from tune_app.journal.file import transaction
from tune_app.journal.reading import JournalReader
from tune_app.journal.records import Amendment, CellRecord, Change, Status, SweepRecord
from tune_app.plan.rows import PlannedCell
from tune_app.plan.search.records import Round


class PlanWriter(JournalReader):
    """Writes what a sweep trains. `Journal` adds what becomes of it."""

    def amend(
        self,
        sweep: SweepRecord,
        *,
        command: str,
        changes: Sequence[Change],
        added: Sequence[PlannedCell],
        left_out: Collection[str],
        again: Collection[str],
        labels: Mapping[str, str],
        adopted: Sequence[AdoptedCell] = (),
        rounds: Sequence[Round] = (),
    ) -> Amendment:
        """Changes the sweep, completely or not at all; returns the record of it.

        Args:
            sweep: the record from now on.
            command: what the user asked.
            changes: in what the sweep differs from before.
            added: new cells, with positions behind all others.
            left_out: keys of cells that are not to be trained from now on.
            again: keys of cells left out or paused earlier that are to be trained again.
            labels: the label of every cell by its key, new ones included.
            adopted: what other sweeps have recorded about some of the new cells.
            rounds: of a search, those that proposed some of the new cells.
        """
        number = len(self.amendments()) + 1
        amendment = Amendment(
            number=number,
            at=self._clock(),
            arrival=self._newest_arrival(),
            command=command,
            changes=tuple(changes),
            added=len(added),
            left_out=len(left_out),
        )
        with self._transaction():
            self._connection.execute(
                "INSERT INTO amendments (number, at, arrival, command, changes, added, left_out)"
                " VALUES (:number, :at, :arrival, :command, :changes, :added, :left_out)",
                rows.amendment_row(amendment),
            )
            self._connection.execute("UPDATE sweep SET record = ?", [rows.sweep_row(sweep)])
            self._insert(replace(CellRecord.of(cell), amendment=number) for cell in added)
            for one in adopted:
                write_adopted(self._connection, one)
            self._insert_rounds(rounds)
            # Labels are unique; two cells may swap theirs.
            self._connection.execute("UPDATE cells SET label = '#' || key")
            self._connection.executemany(
                "UPDATE cells SET label = ? WHERE key = ?",
                [(label, key) for key, label in labels.items()],
            )
            for key in left_out:
                self._set_status(key, Status.LEFT_OUT, f"not named by the command: {command}")
            for key in again:
                self._set_status(key, Status.PENDING, "")
        return amendment

    def continued_by(self, command: str) -> None:
        """Records the newest command line that continues the sweep."""
        with self._transaction():
            changed = replace(self.sweep(), command=command)
            self._connection.execute("UPDATE sweep SET record = ?", [rows.sweep_row(changed)])

    def propose(self, following: Round, cells: Sequence[PlannedCell]) -> None:
        """Records a round of a search and adds its cells, before any of them is trained.

        Both in one transaction: a sweep that is killed has the round with all its cells, or
        proposes the same one again.
        """
        with self._transaction():
            self._insert(CellRecord.of(cell) for cell in cells)
            self._insert_rounds([following])

    def plan_again(
        self, sweep: SweepRecord, cells: Sequence[PlannedCell], *, rounds: Sequence[Round] = ()
    ) -> None:
        """Replaces the plan of a sweep that never started a cell, completely or not at all."""
        assert not self.attempts(), "a sweep that has trained is amended"
        with self._transaction():
            self._connection.execute("DELETE FROM amendments")
            # Cells whose process never started may have failed.
            for table in ("failures", "proposals", "rounds", "cells"):
                self._connection.execute(f"DELETE FROM {table}")
            self._connection.execute("UPDATE sweep SET record = ?", [rows.sweep_row(sweep)])
            self._insert(CellRecord.of(cell) for cell in cells)
            self._insert_rounds(rounds)

    def _insert(self, cells: Iterable[CellRecord]) -> None:
        self._connection.executemany(
            "INSERT INTO cells (key, label, position, cell, status, reason, config, parameters,"
            " flops_per_token, attempts, baseline_config, former_key, amendment)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            map(rows.cell_row, cells),
        )

    def _insert_rounds(self, added: Iterable[Round]) -> None:
        for one in added:
            self._connection.execute(
                "INSERT INTO rounds (number, search, told, at) VALUES (?, ?, ?, ?)",
                rows.round_row(one, at=self._clock()),
            )
            self._connection.executemany(
                "INSERT INTO proposals (number, round, chosen, cell, refused)"
                " VALUES (?, ?, ?, ?, ?)",
                [rows.proposal_row(each, round_number=one.number) for each in one.proposals],
            )

    def _newest_arrival(self) -> int:
        """Arrival number of the last observation, 0 for none."""
        found = self._connection.execute("SELECT max(arrival) FROM observations").fetchone()[0]
        return int(found or 0)

    def _set_status(self, cell: str, status: Status, reason: str) -> None:
        self._connection.execute(
            "UPDATE cells SET status = ?, reason = ? WHERE key = ?", [status.value, reason, cell]
        )

    def _transaction(self) -> AbstractContextManager[None]:
        return transaction(self._connection, self._path)
