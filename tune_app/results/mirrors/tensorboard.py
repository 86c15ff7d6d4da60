"""The curves as TensorBoard directories, one per cell: kept live, and rebuilt from the journal.

    tensorboard --logdir runs/NAME/tensorboard

Steps are baseline tokens. The time of a point is the start of the sweep plus the seconds that the
cell had spent by then, so that relative times show how long cells took.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from tune_app.journal.journal import Journal
from tune_app.journal.listener import QuietListener
from tune_app.journal.metrics import tag
from tune_app.journal.records import (
    CellEvaluation,
    CellRecord,
    Decision,
    Failure,
    Observation,
    SweepRecord,
)
from tune_app.results.evaluated import headlines, tag_of
from tune_app.results.mirrors.scalars import scalars_of
from tune_app.results.summary import summarise

TENSORBOARD = "tensorboard"
"""The name of its folder in a sweep's folder."""

_LONGEST = 200
"""Of a directory's name, in bytes."""
_SCORE = tag("full_bits_per_byte")


def write_tensorboard(journal: Journal, folder: Path) -> None:
    """Rebuilds the directories in `folder` from the journal, replacing the previous ones."""
    results = summarise(journal)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".tensorboard-") as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        for result in results.cells:
            if not result.curve:
                continue
            with _writer(fresh, result.cell) as writer:
                for observation in result.curve:
                    _add(writer, results.sweep, observation)
                for evaluation in result.evaluations:
                    _add_evaluation(writer, result.curve[-1].baseline_tokens, evaluation)
                if result.cell.status.ended:
                    _add_settings(writer, results.sweep, result.cell)
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        fresh.rename(folder)


class TensorBoardListener(QuietListener):
    """Appends to the directories while the sweep runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sweep: SweepRecord | None = None
        self._cells: dict[str, CellRecord] = {}
        self._writers: dict[str, SummaryWriter] = {}
        self._opened = 0

    def sweep_started(self, journal: Journal) -> None:
        write_tensorboard(journal, self._folder)
        self._sweep = journal.sweep()
        self._cells = {cell.key: cell for cell in journal.cells()}

    def observed(self, observation: Observation, decision: Decision | None) -> None:
        assert self._sweep is not None
        cell = self._cells[observation.cell]
        if cell.key not in self._writers:
            # Files are named by the second; the suffix keeps two of the same second apart.
            self._opened += 1
            self._writers[cell.key] = _writer(self._folder, cell, suffix=f".{self._opened}")
        writer = self._writers[cell.key]
        _add(writer, self._sweep, observation)
        if decision is not None and decision.action.ends:
            _add_settings(writer, self._sweep, cell)
            self._close(cell.key)
        else:
            writer.flush()

    def cell_failed(self, failure: Failure) -> None:
        if failure.ended:
            self._close(failure.cell)

    def sweep_ended(self) -> None:
        for key in list(self._writers):
            self._close(key)

    def _close(self, key: str) -> None:
        writer = self._writers.pop(key, None)
        if writer is not None:
            writer.close()


def _writer(folder: Path, cell: CellRecord, *, suffix: str = "") -> Any:
    return SummaryWriter(str(folder / directory_name(cell)), filename_suffix=suffix)


def directory_name(cell: CellRecord) -> str:
    """The name of a cell's directory: sorted by position, and not too long for a file system."""
    name = re.sub(r"[^\w.%×+-]+", "_", cell.label)
    return f"{cell.position:02d}_{name.encode()[:_LONGEST].decode(errors='ignore')}"


def _add(writer: Any, sweep: SweepRecord, observation: Observation) -> None:
    spent = sum(observation.seconds.values())
    for name, value in scalars_of(observation).items():
        writer.add_scalar(
            name, value, observation.baseline_tokens, walltime=sweep.created_at + spent
        )


def _add_evaluation(writer: Any, tokens: int, evaluation: CellEvaluation) -> None:
    """Adds what a trained cell scored, at the tokens that it trained."""
    for name, value in headlines(evaluation):
        if math.isfinite(value):
            writer.add_scalar(tag_of(evaluation, name), value, tokens, walltime=evaluation.at)


def _add_settings(writer: Any, sweep: SweepRecord, cell: CellRecord) -> None:
    """Adds the cell to TensorBoard's HPARAMS page."""
    sizes: Mapping[str, Any] = cell.config or {}
    values = {
        **{axis: cell.values.get(axis) for axis in sweep.axes},
        **{name: sizes.get(name) for name in ("d_model", "n_layers", "d_ff")},
    }
    known = {
        name: value if isinstance(value, (bool, int, float, str)) else str(value)
        for name, value in values.items()
        if value is not None
    }
    for summary in hparams(known, {_SCORE: 0.0}):
        writer.file_writer.add_summary(summary)
