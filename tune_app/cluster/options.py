"""How a sweep is run: the user's options, and what they resolve to on the available machines.

The command line parses `RunOptions` directly; the sweep and Ray use the same object.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from tune_app.cluster.capacity import ClusterSize
from tune_app.cluster.packing import MOST_NAMED, share_of_gpu

AUTO = "auto"
ON_A_CLUSTER = (AUTO, "cpu", "cuda")
"""Devices of a sweep with --address."""

_HOW = Group("How to run", sort_key=3)


@Parameter(name="*", group=_HOW)
@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a sweep is run. CPUs and GPUs change only the last bits of a result.

    Raises ValueError for impossible numbers of cells, CPUs or GPUs.
    """

    results: Path = Path("runs")
    """Folder that holds all sweeps."""
    cells_at_once: Annotated[
        int | None,
        Parameter(
            help="Cells trained in parallel; default: as many as fit on the CPUs, in the memory "
            "and on the GPUs that this machine or container has, or with --address on the cluster "
            "at its maximum size."
        ),
    ] = None
    cpus: int = 1
    """CPUs per cell, also its number of torch threads."""
    device: str = AUTO
    """auto (a GPU if there is one), cpu, cuda, one of several GPUs as in cuda:1, or mps."""
    gpus: Annotated[
        float | None,
        Parameter(
            help="GPUs per cell; a fraction shares one; default: 1 if this machine (with "
            "--address: the cluster) has or can get a GPU, else 0."
        ),
    ] = None
    cells_per_gpu: Annotated[
        Literal["auto"] | int | None,
        Parameter(
            help="Cells that share each GPU, and its memory, in place of --gpus; auto tries 1, 2, "
            "4 and 8 of the largest cell for some seconds each, on this machine's GPU, and takes "
            "as many as bring at least a tenth more tokens/s; default: 1."
        ),
    ] = None
    cuda_graph: Annotated[
        bool,
        Parameter(
            negative="",
            help="Start each training step on a GPU as one CUDA graph: fewer launches, the same "
            "results. No GPU has run it yet.",
        ),
    ] = False
    address: str | None = None
    """Address of a running Ray cluster, e.g. auto; default: start Ray on this machine."""
    checkpoints: Annotated[
        str | None,
        Parameter(
            help="Where checkpoints are stored: a folder, sftp://user@host/path or "
            "s3://bucket/prefix; default: the environment variable STELLUX_CHECKPOINTS, else a "
            "folder next to the results. With --address, all machines must be able to reach it."
        ),
    ] = None
    checkpoint_every: float | None = None
    """Seconds between checkpoints; default: 2 to 15 minutes, by what a checkpoint costs."""
    share_compiled: Annotated[
        Literal["auto", "on", "off"],
        Parameter(
            help="Share compiled code through the checkpoint store. It is run without a check, so "
            "auto does so only in a folder that no other user can write to; on trusts all who can "
            "write to the store."
        ),
    ] = "auto"
    keep_checkpoints: int | None = None
    """Newest checkpoints kept of each cell; default: 2 while it trains, then only the last."""
    keep_best: int = 1
    """Checkpoints with the best scores on dev that are kept as well."""
    dollars_per_hour: Annotated[
        float | None,
        Parameter(
            help="Price of this machine in $/h, so that the results say what each cell cost; on a "
            "rented cluster prices are known; default: unknown."
        ),
    ] = None
    max_dollars: Annotated[
        float | None,
        Parameter(
            help="What it may cost in all. It does not start if the forecast is higher; when it is "
            "spent, cells are saved and paused, and go on with a higher limit; default: no limit."
        ),
    ] = None
    on_error: Literal["continue", "stop"] = "continue"
    """When the code of a cell fails: continue with the other cells, or stop the sweep."""
    hang_minutes: Annotated[
        float,
        Parameter(
            help="A step of a cell, which includes compiling and saving, is given up after this: "
            "its process ends, and the cell continues in another."
        ),
    ] = 30.0
    wandb: Literal["off", "offline", "online"] = "off"
    """Also log the curves to Weights & Biases."""
    show_ray: Annotated[bool, Parameter(negative="")] = False
    """Show Ray's own messages."""

    def __post_init__(self) -> None:
        # A shell does not expand --results=~/runs.
        object.__setattr__(self, "results", self.results.expanduser())
        if self.cells_at_once is not None and self.cells_at_once < 1:
            raise ValueError(f"{self.cells_at_once} cells at once; it must be at least 1")
        refuse_keeping(self.keep_checkpoints, best=self.keep_best)
        self._refuse_dollars()
        if not (math.isfinite(self.hang_minutes) and self.hang_minutes > 0):
            raise ValueError(f"--hang-minutes is {self.hang_minutes:g}; it must be over 0")
        if self.cpus < 1:
            raise ValueError(f"{self.cpus} CPUs per cell; it must be at least 1")
        if self.gpus is not None and self.gpus < 0:
            raise ValueError(f"{self.gpus:g} GPUs per cell; it cannot be negative")
        self._refuse_sharing()
        if self.cuda_graph and self.device in ("cpu", "mps"):
            raise ValueError(
                f"--cuda-graph is for CUDA, and --device {self.device} is not; leave one of them "
                "out"
            )
        named = self.gpus is not None and self.device != AUTO
        if named and (self.gpus != 0) != self.device.startswith("cuda"):
            raise ValueError(
                f"--device {self.device} and --gpus {self.gpus:g} contradict each other; "
                "leave one of them out"
            )
        if self.on_a_cluster and self.device not in ON_A_CLUSTER:
            raise ValueError(
                f"--device {self.device} is for this machine alone; with --address choose "
                f"{' or '.join(ON_A_CLUSTER)}, Ray assigns the GPUs"
            )

    def _refuse_sharing(self) -> None:
        asked = self.cells_per_gpu
        if asked is None:
            return
        if self.gpus is not None:
            raise ValueError(
                f"--cells-per-gpu {asked} and --gpus {self.gpus:g} both say how much of a GPU a "
                "cell has; leave one of them out"
            )
        if not isinstance(asked, int):
            if self.on_a_cluster:
                raise ValueError(
                    "--cells-per-gpu auto measures this machine's GPU, and with --address others "
                    "train; name a number"
                )
            return
        if not 1 <= asked <= MOST_NAMED:
            raise ValueError(f"{asked} cells per GPU; it must be from 1 to {MOST_NAMED}")
        if self.device in ("cpu", "mps"):
            raise ValueError(
                f"--cells-per-gpu {asked} is for CUDA, and --device {self.device} is not; leave "
                "one of them out"
            )

    def _refuse_dollars(self) -> None:
        for name, value in (
            ("--dollars-per-hour", self.dollars_per_hour),
            ("--max-dollars", self.max_dollars),
        ):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value:g}; it must be a number of dollars over 0")
        if self.on_a_cluster and self.dollars_per_hour is not None:
            raise ValueError(
                f"--dollars-per-hour {self.dollars_per_hour:g} is the price of this machine; with "
                "--address others train: leave it out, rented machines have their own prices"
            )
        if self.max_dollars is not None and not self.on_a_cluster and not self.dollars_per_hour:
            raise ValueError(
                f"--max-dollars {self.max_dollars:g} needs a price: name this machine's with "
                "--dollars-per-hour"
            )

    @property
    def on_a_cluster(self) -> bool:
        """Whether the sweep uses a running cluster; else it starts Ray on this machine."""
        return self.address is not None


def refuse_keeping(checkpoints: int | None, *, best: int) -> None:
    """Raises ValueError for numbers of checkpoints that cannot be kept."""
    if best < 0:
        raise ValueError(f"--keep-best is {best}; it must be 0 or more")
    if checkpoints is not None and checkpoints < 1:
        raise ValueError(
            f"--keep-checkpoints is {checkpoints}; it must be at least 1: a cell continues from "
            "its newest checkpoint"
        )


@dataclass(frozen=True, kw_only=True)
class Means:
    """The resolved resources of a sweep, with all defaults filled in."""

    cells_at_once: int
    cpus: int
    """Per cell."""
    gpus: float
    """Per cell; a fraction shares one."""
    device: str
    """What torch calls the device of each cell: cpu, cuda or mps."""

    @classmethod
    def of(cls, options: RunOptions, size: ClusterSize) -> Means:
        """Resolves the options on this machine or a cluster of the given size.

        While `cells_per_gpu` is auto, a cell has a GPU of its own. Raises ValueError if a number of
        cells is to share a GPU, or steps are to be CUDA graphs, and there is no GPU.
        """
        device = _device(options, size)
        if options.cuda_graph and device != "cuda":
            raise ValueError(
                "--cuda-graph needs a CUDA GPU, and there is none to train on; leave it out"
            )
        gpus = _gpus(options, device)
        cells = options.cells_at_once
        if cells is None:
            # The cells of a Mac would share its one GPU.
            one = device == "mps"
            cells = 1 if one else size.cells_at_once(cpus=options.cpus, gpus=gpus)
        return cls(cells_at_once=cells, cpus=options.cpus, gpus=gpus, device=device)


def _gpus(options: RunOptions, device: str) -> float:
    """GPUs per cell on this kind of device."""
    asked = options.cells_per_gpu
    if device != "cuda":
        if isinstance(asked, int):
            raise ValueError(
                f"--cells-per-gpu {asked} needs a CUDA GPU, and there is none to train on; leave "
                "it out"
            )
        return 0.0
    if isinstance(asked, int):
        return share_of_gpu(asked)
    return 1.0 if options.gpus is None else options.gpus


def _device(options: RunOptions, size: ClusterSize) -> str:
    if options.device != AUTO:
        return options.device.partition(":")[0]
    gpus = size.gpus_per_cell() if options.gpus is None else options.gpus
    if gpus > 0:
        return "cuda"
    return "mps" if size.mps and options.gpus is None else "cpu"
