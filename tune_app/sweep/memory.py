"""How many cells fit in this machine's memory, or in what its container may use of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from model.sizing.cost import training_memory_bytes
from model.spec import ModelConfig
from model.training.settings import wished_at_once
from tune_app.cluster.options import Means
from tune_app.formats import size
from tune_app.plan.rows import PlannedCell

logger = logging.getLogger(__name__)

_PROCESS_BYTES = 350 * 2**20
"""Memory of a trial's process besides its training: torch, Ray and their threads. Measured on a
cell of 0.3M parameters."""
_SHARED_BYTES = 2**30
"""Memory of the sweep's own process and of Ray's."""
_BYTES_PER_ACTIVATION = 4
"""In fp32; with bf16 a cell needs less."""


def within_memory(means: Means, cells: Sequence[PlannedCell], *, memory: int | None) -> Means:
    """The means with as many cells at once as fit in the memory, at least one; logs a reduction.

    On a GPU the number of cells follows from the GPUs alone.

    Args:
        means: with the number of cells that the CPUs allow.
        cells: those that will be trained.
        memory: bytes that may be used; None if that is unknown.
    """
    largest = max(map(cell_bytes, cells), default=0)
    if memory is None or largest == 0 or means.device != "cpu":
        return means
    fit = max(1, (memory - _SHARED_BYTES) // largest)
    if fit >= means.cells_at_once:
        return means
    logger.warning(
        "%d at once, of the %d cells that the CPUs allow: %s of memory may be used, and a cell "
        "needs about %s; --cells-at-once sets another number",
        fit,
        means.cells_at_once,
        size(memory),
        size(largest),
    )
    return replace(means, cells_at_once=fit)


def cell_bytes(cell: PlannedCell) -> int:
    """Memory of a cell's process while it trains, roughly; 0 if the cell is infeasible."""
    if cell.config is None:
        return 0
    return _PROCESS_BYTES + training_memory_bytes(
        ModelConfig(**cell.config),
        batch_size=wished_at_once(cell.values),
        bytes_per_activation=_BYTES_PER_ACTIVATION,
        recomputed=bool(cell.values.get("gradient_checkpointing", False)),
    )
