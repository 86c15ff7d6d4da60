"""Which cell of a sweep is meant, and its trained model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.suggestions import did_you_mean
from tune_app.results.designs import CellResult
from tune_app.results.summary import SweepResults

if TYPE_CHECKING:
    from model.spec import ModelConfig
    from model.training.warm_start import Moments
    from tune_app.trial.trained import TrainedModel


def called(name: str | float, cells: Sequence[CellResult]) -> CellResult | None:
    """The cell of this label or key, or the only one whose label or key is this number.

    A label that looks like a number may be given as the number, as pandas reads it from
    results.csv.
    """
    for one in cells:
        if name in (one.cell.label, one.cell.key):
            return one
    number = _number(name)
    if number is None:
        return None
    equal = [
        one
        for one in cells
        if any(
            (known := _number(text)) is not None and math.isclose(known, number, rel_tol=1e-12)
            for text in (one.cell.label, one.cell.key)
        )
    ]
    return equal[0] if len(equal) == 1 else None


def cell_called(results: SweepResults, name: str | float) -> CellResult:
    """As `called`, among the cells of a sweep. Raises ValueError for an unknown cell."""
    if (found := called(name, results.cells)) is not None:
        return found
    told = name if isinstance(name, str) else f"{name:.15g}"
    labels = [one.cell.label for one in results.cells]
    hint = did_you_mean(told, labels).strip()
    raise ValueError(
        f"the sweep {results.sweep.name} has no cell {told!r}; expected one of {', '.join(labels)}"
        + (f" ({hint})" if hint else "")
    )


def leading_cell(results: SweepResults) -> CellResult | None:
    """The leader, on the seed on which it scored best; None if no cell has finished."""
    leader = results.leader
    return None if leader is None else min(leader.finished, key=lambda one: one.score or 0.0)


def load_cell(
    results: SweepResults, cell: CellResult, *, folder: Path, device: str = "cpu"
) -> TrainedModel:
    """The model and the tokenizer of a cell, as of its newest checkpoint.

    folder: of the sweep.

    Raises ValueError if it has no checkpoint, CheckpointError if that is gone or damaged.
    """
    from tune_app.trial.trained import load  # noqa: PLC0415 - imports torch

    checkpoint = _checkpoint(results, cell)
    return load(checkpoint, folder=folder, baseline=_baseline(cell), device=device)


def load_cell_moments(results: SweepResults, cell: CellResult, *, folder: Path) -> Moments:
    """The state of a cell's optimiser, as of its newest checkpoint; otherwise as `load_cell`."""
    from tune_app.trial.trained import load_moments  # noqa: PLC0415 - imports torch

    checkpoint = _checkpoint(results, cell)
    return load_moments(checkpoint, folder=folder, baseline=_baseline(cell))


def _checkpoint(results: SweepResults, cell: CellResult) -> str:
    if cell.checkpoint is None:
        raise ValueError(
            f"the cell {cell.cell.label!r} of the sweep {results.sweep.name} has no checkpoint; it "
            f"is {cell.cell.status.value}"
        )
    return cell.checkpoint


def _baseline(cell: CellResult) -> ModelConfig | None:
    return None if cell.cell.solved is None else cell.cell.solved.baseline


def _number(name: Any) -> float | None:
    """What a label means as a number: 2.66, or 16000 for `16,000`; None for another."""
    if isinstance(name, bool):
        return None
    try:
        number = float(name.replace(",", "") if isinstance(name, str) else name)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
