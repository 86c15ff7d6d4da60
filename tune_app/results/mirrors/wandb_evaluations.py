"""Sends what a cell scored in evaluations to its run on Weights & Biases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tune_app.journal.records import CellEvaluation, CellRecord, SweepRecord
from tune_app.results.evaluated import headlines, tag_of
from tune_app.results.mirrors.wandb import begun_run, checked_mode


def send_evaluations(
    evaluations: Sequence[CellEvaluation],
    *,
    sweep: SweepRecord,
    cell: CellRecord,
    folder: Path,
    mode: str,
) -> None:
    """Adds evaluations to the summary of the cell's run.

    Args:
        evaluations: of the cell.
        sweep: the cell's.
        cell: whose run it is.
        folder: of the sweep, where offline runs are kept.
        mode: `offline` or `online`.

    Raises ValueError for another mode, and for `online` without a key.
    """
    run = begun_run(sweep, cell, folder=folder, mode=checked_mode(mode))
    values = {tag_of(one, name): value for one in evaluations for name, value in headlines(one)}
    run.summary.update(values)
    run.finish()
