"""How the cells of a sweep share GPUs: decided, and arranged for while they train."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

from tune_app.cluster.capacity import ClusterSize
from tune_app.cluster.options import AUTO, Means, RunOptions
from tune_app.cluster.packing import Packing
from tune_app.formats import counted
from tune_app.plan.rows import PlannedCell
from tune_app.sweep.gpu_probe import Measure, best_packing, largest, measured_on
from tune_app.sweep.mps import overlapping
from tune_app.terminal.facts import Fact

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """What was decided."""

    options: RunOptions
    """With a number of cells per GPU in place of auto."""
    packing: Packing | None
    """None if each cell has a GPU, or none, and nobody asked for anything else."""

    @property
    def facts(self) -> list[Fact]:
        """As shown before the sweep starts."""
        if self.packing is None:
            return []
        return [("GPU", f"{counted(self.packing.cells, 'cell')} each: {self.packing.reason}")]


@contextmanager
def shared_gpus(
    options: RunOptions,
    means: Means,
    left: Sequence[PlannedCell],
    *,
    here: ClusterSize,
    measure: Callable[..., Measure] = measured_on,
    overlap: Callable[[], AbstractContextManager[str]] = overlapping,
) -> Iterator[Sharing]:
    """Decides how many cells share a GPU; processes that start inside the block share it so.

    Without a GPU, `auto` means nothing and is left as it is. On a cluster, whose workers are other
    machines, CUDA MPS is not started.

    Args:
        options: how the sweep is run.
        means: what the options come to while `auto` is one cell a GPU.
        left: cells that are to be trained; none means that nothing is decided.
        here: this machine.
    """
    asked = options.cells_per_gpu
    if asked is None or not left:
        yield Sharing(options=options, packing=None)
        return
    if means.device != "cuda":
        # A number is refused here: see `Means.of`.
        logger.warning("--cells-per-gpu %s is ignored: there is no CUDA GPU to train on", asked)
        yield Sharing(options=replace(options, cells_per_gpu=None), packing=None)
        return
    if options.on_a_cluster:
        assert isinstance(asked, int), "auto is refused on a cluster"
        yield _decided(options, Packing(cells=asked, reason="as asked"))
        return
    if asked == 1:
        yield _decided(options, Packing(cells=1, reason="as asked"))
        return
    with overlap() as how:
        found = Packing(cells=1, reason="there is nothing to try")
        if isinstance(asked, int):
            found = Packing(cells=asked, reason="as asked")
        elif (cell := largest(left)) is not None:
            found = best_packing(
                measure(_device(options), cell, threads=means.cpus, cuda_graph=options.cuda_graph),
                processes=_processes(here, cpus=means.cpus),
            )
        if found.cells > 1 or asked == AUTO:
            found = replace(found, reason=f"{found.reason}; shared by {how}")
        yield _decided(options, found)


def _decided(options: RunOptions, found: Packing) -> Sharing:
    logger.info("%d cells on each GPU: %s", found.cells, found.reason)
    return Sharing(options=replace(options, cells_per_gpu=found.cells), packing=found)


def _device(options: RunOptions) -> str:
    return "cuda" if options.device == AUTO else options.device


def _processes(here: ClusterSize, *, cpus: int) -> int:
    """Cells that the CPUs allow for each GPU of this machine."""
    (machine,) = here.now
    return max(1, int(machine.cpus / cpus / max(1.0, machine.gpus)))
