"""Everything about a sweep that can be refused at once: before its corpus is packed.

Nothing is started or trained here. A dry run asks the same questions as the sweep itself.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

from data.corpus import find_corpus
from data.errors import reading_explained
from model.training.compilation import missing_compiler
from model.training.hardware import precision_on
from tune_app.cluster.capacity import ClusterSize, Machines
from tune_app.cluster.options import Means, RunOptions
from tune_app.devices import AUTO, checked_device, gpu_count, mps_available
from tune_app.journal.records import CellRecord
from tune_app.machine_limits import usable_cpus, usable_memory
from tune_app.plan.cell import Cell
from tune_app.plan.plan import SweepPlan
from tune_app.plan.rows import PlannedCell
from tune_app.sweep.folder import require_writable
from tune_app.sweep.memory import within_memory
from tune_app.sweep.preflight import check_storage
from tune_app.sweep.store_location import chosen_store


def check_all(
    plan: SweepPlan,
    options: RunOptions,
    *,
    size: ClusterSize | None = None,
    cells: Sequence[PlannedCell] | None = None,
    dry: bool = False,
) -> Means:
    """Checks settings, machine, folder, corpus and checkpoint store; returns the resources.

    Args:
        plan: of the sweep.
        options: how it is to be run.
        size: of the cluster that the sweep is connected to; None for this machine.
        cells: those left to train; None for all. A sweep with none left needs no machine.
        dry: write nothing on this machine. A remote store is still asked: it has to answer, and
            gets a small object that is removed again.

    Raises ValueError or OSError, in one line with the remedy, for the first thing that would fail.
    """
    left = plan.cells if cells is None else cells
    for cell in left:
        if cell.config is not None:
            Cell.from_values(cell.values).training_config()
    means = resources(options, left, size=size)
    with reading_explained(plan.corpus):
        find_corpus(plan.corpus)
    folder = options.results / plan.name
    require_writable(folder)
    if not left:
        return means
    if size is None and not options.on_a_cluster:
        checked_device(options.device)
        gpus = 1 if ":" in options.device else gpu_count()
        refuse_beyond_this_machine(means, cpus=usable_cpus(), gpus=gpus)
        refuse_untrainable(left, device=means.device)
    _check_wandb(folder, options.wandb)
    check_storage(
        chosen_store(options.checkpoints, folder),
        folder,
        [CellRecord.of(cell) for cell in left],
        cells_at_once=means.cells_at_once,
        dry=dry,
    )
    return means


def resources(
    options: RunOptions, cells: Sequence[PlannedCell], *, size: ClusterSize | None = None
) -> Means:
    """What the options come to for these cells: no more of them at once than this machine's memory
    holds, unless a number was asked for.

    size: of the cluster that trains them; None for this machine.

    Raises ValueError for options that cannot be met.
    """
    means = Means.of(options, size or this_machine(options.device))
    if size is None and not options.on_a_cluster and options.cells_at_once is None:
        means = within_memory(means, cells, memory=usable_memory())
    return means


def this_machine(device: str = AUTO) -> ClusterSize:
    """This machine as a cluster of one, with only that GPU if the device is one of several."""
    gpus = min(1, gpu_count()) if ":" in device else gpu_count()
    machine = Machines(name=platform.node(), number=1, cpus=float(usable_cpus()), gpus=float(gpus))
    return ClusterSize(now=(machine,), mps=mps_available())


def refuse_beyond_this_machine(means: Means, *, cpus: int, gpus: int) -> None:
    """Raises ValueError if a single cell asks for more than this machine has.

    More cells at once than fit are allowed: they share the CPUs, or wait for a GPU.
    """
    if means.gpus > gpus:
        remedy = "use --gpus 0 to train on CPUs" if gpus == 0 else f"use at most --gpus {gpus}"
        raise ValueError(
            f"a cell needs {means.gpus:g} GPUs, torch finds {gpus} on this machine; {remedy}"
        )
    if means.cpus > cpus:
        raise ValueError(
            f"a cell needs {means.cpus} CPUs, this machine has {cpus}; use at most --cpus {cpus}"
        )


def refuse_untrainable(cells: Sequence[PlannedCell], *, device: str) -> None:
    """Raises ValueError if a cell asks for a precision or for a compiler that is not there."""
    configs = [Cell.from_values(cell.values).training_config() for cell in cells if cell.config]
    for precision, compile_mode in {(one.precision, one.compile) for one in configs}:
        precision_on(device, precision)  # which raises
        if compile_mode == "on" and (lack := missing_compiler(device)):
            raise ValueError(f"compile is 'on', but {lack}")


def _check_wandb(folder: Path, mode: str) -> None:
    """Raises ValueError for an unknown W&B mode, and for `online` without a key."""
    if mode == "off":
        return
    from tune_app.results.mirrors.wandb import WandbListener  # noqa: PLC0415 - seldom needed

    WandbListener(folder, mode)
