"""The results of a sweep as they are at one moment, from its journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tune_app import formats
from tune_app.api.shown import shown_html, shown_text
from tune_app.journal.journal import Journal
from tune_app.results.columns import dictionary
from tune_app.results.design_table import design_rows
from tune_app.results.equal_budgets import view_rows
from tune_app.results.summary import SweepResults, summarise
from tune_app.results.tables import cell_rows, curve_rows, decision_rows, failure_rows, names_of
from tune_app.results.verdict import verdict
from tune_app.statistics.noise import Noise
from tune_app.sweep import listing
from tune_app.sweep.folder import JOURNAL
from tune_app.sweep.trained_cell import cell_called, leading_cell, load_cell
from tune_app.terminal.leader import leader_lines, verdict_line

if TYPE_CHECKING:
    from tune_app.trial.trained import TrainedModel

_SHOWN = {
    "label": "cell",
    "status": "status",
    "rank": "rank",
    "baseline_tokens_trained": "tokens",
    "full_bits_per_byte": "dev bpb",
    "gap_bits_per_byte": "gap",
    "sample_bits_per_byte": "sample bpb",
    "reason": "reason",
}
"""Columns of the short table, and their headers there."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Sweep:
    """A sweep as it was when it was opened: open it again to see what has come since.

    Shows itself with its leader and a short table.
    """

    folder: Path
    """Of its journal, its report and its plots."""
    results: SweepResults
    """Everything that was found, as objects: cells, designs, ranking, gaps."""
    ended_by: str | None = None
    """Why its newest run left cells to be trained; None if it left none, goes on or was killed."""

    @property
    def name(self) -> str:
        return self.results.sweep.name

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row for each cell, with the columns of results.csv; `columns` explains them."""
        return _frame(cell_rows(self.results))

    @cached_property
    def designs(self) -> pd.DataFrame:
        """A row for each design, the ranked ones first, with the columns of designs.csv."""
        return _frame(design_rows(self.results))

    @cached_property
    def equal_budgets(self) -> pd.DataFrame:
        """The ranking at equal tokens, training FLOPs and seconds, as in equal_budgets.csv; empty
        until two designs have finished."""
        return _frame(view_rows(self.results))

    @cached_property
    def curves(self) -> pd.DataFrame:
        """A row for each evaluation, with the columns of curves.parquet."""
        return _frame(curve_rows(self.results))

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """A row for each decision of the stopping rules: the cell, the reason, the evidence."""
        return _frame(decision_rows(self.results))

    @cached_property
    def failures(self) -> pd.DataFrame:
        """A row for each lost process, error and damaged checkpoint."""
        return _frame(failure_rows(self.results))

    @cached_property
    def columns(self) -> pd.DataFrame:
        """The meaning and the unit of each column of the other tables."""
        tables = (cell_rows, design_rows, curve_rows, view_rows)
        return _frame(dictionary(*(names_of(rows(self.results)) for rows in tables)))

    @property
    def report(self) -> Path:
        """The report of its last run."""
        return self.folder / "report.html"

    @property
    def leader(self) -> str | None:
        """Label of the design with the lowest score, which need not be better than those in
        `not_told_apart`; None if no cell has finished."""
        leader = self.results.leader
        return None if leader is None else leader.label

    @property
    def noise(self) -> Noise | None:
        """The seeds' noise: the standard deviation of a score over seeds in bits per byte, from how
        many runs; None if it is unknown."""
        return self.results.contest.noise

    @property
    def not_told_apart(self) -> list[str] | None:
        """Labels of the designs that the leader is ahead of by no more than noise, in the order of
        the ranking; None if there is no leader or the noise is unknown."""
        contest = self.results.contest
        if contest.leader is None or contest.noise is None:
            return None
        return [design.label for design in contest.not_told_apart]

    @property
    def verdict(self) -> str:
        """One sentence: by how much the leader leads, and what it is not told apart from."""
        return verdict(self.results)

    def load_leader(self, *, device: str = "cpu") -> TrainedModel:
        """The model of the leader, on the seed on which it scored best, and its tokenizer.

        Raises ValueError if no cell has finished, CheckpointError if its checkpoint is gone.
        """
        leader = leading_cell(self.results)
        if leader is None:
            raise ValueError(
                f"the sweep {self.name} has no leader: no cell has finished; load one with "
                "load(label)"
            )
        return load_cell(self.results, leader, folder=self.folder, device=device)

    def load(self, cell: str | float, *, device: str = "cpu") -> TrainedModel:
        """The model and the tokenizer of a cell, as of its newest checkpoint.

        Args:
            cell: its label or its key; a label that looks like a number also as the number, as
                pandas reads it from results.csv.
            device: `cpu`, `cuda`, …

        Raises ValueError for an unknown cell or one without a checkpoint, CheckpointError if the
        checkpoint is gone or damaged.
        """
        found = cell_called(self.results, cell)
        return load_cell(self.results, found, folder=self.folder, device=device)

    def __repr__(self) -> str:
        return shown_text(self._lines(), self._short())

    def _repr_html_(self) -> str:
        return shown_html(self._lines(), self._short())

    def _lines(self) -> list[str]:
        counts = Counter(one.cell.status.value for one in self.results.cells)
        listed = formats.listed((number, status) for status, number in counts.items())
        lines = [f"Sweep {self.name}: {formats.counted(len(self.results.cells), 'cell')}: {listed}"]
        if title := self.results.title:
            lines.append(f"cells are named by {title}")
        if self.ended_by is not None:
            lines.append(f"ended early: {self.ended_by}")
        lines += [line.plain for line in leader_lines(self.results)]
        lines += [line.plain for line in verdict_line(self.results)]
        return [*lines, f"report: {self.report}"] if self.report.exists() else lines

    def _short(self) -> pd.DataFrame:
        return self.cells[[*_SHOWN]].rename(columns=_SHOWN)


def open_sweep(name: str = "quick", *, results: str | Path = "runs") -> Sweep:
    """The results of a sweep, while it runs or afterwards. Writes nothing.

    Args:
        name: of the sweep.
        results: the folder that holds all sweeps.

    Raises ValueError if there is no such sweep.
    """
    with listing.open_named(name, Path(results)) as journal:
        ending = None if journal.is_driven else journal.ending()
        left = any(cell.status.waits for cell in journal.cells())
        return Sweep(
            folder=Path(results) / name,
            results=summarise(journal),
            ended_by=str(ending) if ending is not None and left else None,
        )


def list_sweeps(*, results: str | Path = "runs") -> pd.DataFrame:
    """A row for each sweep in a folder, the newest first: name, state, cells, leader.

    No rows if there is no sweep in it, or no such folder yet.
    """
    rows = listing.list_sweeps(Path(results))
    return pd.DataFrame(
        [
            {
                "name": row.folder.name,
                "state": row.state or "unreadable",
                "done": row.done,
                "cells": row.cells,
                "leader": row.leader,
                "problem": row.problem,
            }
            for row in rows
        ],
        columns=["name", "state", "done", "cells", "leader", "problem"],
    )


def sweep_in(folder: Path, *, ended_by: str | None = None) -> Sweep:
    """The results of the sweep in a folder. Raises ValueError if there is none."""
    with Journal.open(folder / JOURNAL, read_only=True) as journal:
        return Sweep(folder=folder, results=summarise(journal), ended_by=ended_by)


def _frame(rows: Sequence[Any]) -> pd.DataFrame:
    """Rows as a table; whole numbers stay whole where some are unknown."""
    frame = pd.DataFrame(list(rows))
    whole = [
        name
        for name in frame
        if {type(row[name]) for row in rows if row[name] is not None} == {int}
    ]
    return frame.astype(dict.fromkeys(whole, "Int64"))
