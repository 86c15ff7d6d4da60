"""How a sweep is run: what a person asks for, and what that comes to on the machines there are.

The command line reads `RunOptions` as it stands, and the sweep and Ray take it as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from tune_app.cluster.capacity import ClusterSize

_HOW = Group("How to run", sort_key=3)


@Parameter(name="*", group=_HOW)
@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a sweep is run. CPUs and GPUs change the last bits of a result, nothing more.

    Raises ValueError for what no machine can give.
    """

    results: Path = Path("runs")
    """Folder of all sweeps."""
    cells_at_once: Annotated[
        int | None,
        Parameter(
            help="Cells trained side by side; default as many as this machine has CPUs or GPUs "
            "for, or with --address as the cluster has or may get."
        ),
    ] = None
    cpus: int = 1
    """CPUs per cell, and its torch threads."""
    gpus: Annotated[
        float | None,
        Parameter(
            help="GPUs per cell; a fraction shares one. Default 1 where this machine has any, or "
            "with --address the cluster has or may get any, else 0."
        ),
    ] = None
    address: str | None = None
    """Of a running Ray cluster, e.g. auto; default starts Ray on this machine."""
    checkpoints: Annotated[
        str | None,
        Parameter(
            help="Their store: a folder, sftp://user@host/path or s3://bucket/prefix; default the "
            "one in the environment variable STELLUX_CHECKPOINTS, else a folder beside the "
            "results. With --address all machines have to reach it."
        ),
    ] = None
    checkpoint_every: float | None = None
    """Seconds; default the best for what a checkpoint costs, from 2 to 15 minutes."""
    on_error: Literal["continue", "stop"] = "continue"
    """What a sweep does when the code of a cell fails: go on with the others, or stop."""
    wandb: Literal["off", "offline", "online"] = "off"
    """Whether curves also go to Weights & Biases."""
    show_ray: Annotated[bool, Parameter(negative="")] = False
    """Show Ray's own messages."""

    def __post_init__(self) -> None:
        if self.cells_at_once is not None and self.cells_at_once < 1:
            raise ValueError(f"{self.cells_at_once} cells at once; it must be at least 1")
        if self.cpus < 1:
            raise ValueError(f"{self.cpus} CPUs per cell; it must be at least 1")
        if self.gpus is not None and self.gpus < 0:
            raise ValueError(f"{self.gpus:g} GPUs per cell; it cannot be negative")

    @property
    def on_a_cluster(self) -> bool:
        """Whether machines may come and go; else Ray is started on this machine, for the sweep."""
        return self.address is not None


@dataclass(frozen=True, kw_only=True)
class Means:
    """What trains a sweep, settled: nothing is left to the machines any more."""

    cells_at_once: int
    cpus: int
    """Per cell."""
    gpus: float
    """Per cell; a fraction shares one."""

    @classmethod
    def of(cls, options: RunOptions, size: ClusterSize) -> Means:
        """What the options come to on this machine or a cluster, of the size that is given."""
        gpus = size.gpus_a_cell() if options.gpus is None else options.gpus
        cells = options.cells_at_once
        if cells is None:
            cells = size.cells_at_once(cpus=options.cpus, gpus=gpus)
        return cls(cells_at_once=cells, cpus=options.cpus, gpus=gpus)
