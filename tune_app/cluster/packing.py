"""How many cells train on one GPU at once, from what a probe measured. Pure.

A cell of 10M parameters does not fill a large card: its products are small, and the card waits for
the next kernel to be started. Several cells side by side fill it better, up to a number that
depends on the card and on how the driver shares it; so it is measured (`tune_app.sweep.gpu_probe`).
Each cell is a process of its own, with its share of the memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tune_app import formats

MOST_CELLS = 8
"""That a probe chooses: beyond these, processes and their CPUs cost more than they bring."""
MOST_NAMED = 48
"""That a command may name: with CUDA MPS a GPU serves no more processes (NVIDIA, "Multi-Process
Service", the limit since Volta)."""
LEAST_GAIN = 1.10
"""Tokens/s of all cells together must grow by this factor for more cells to be worth it."""
CONTEXT_BYTES = 600 * 2**20
"""Memory that a process takes on a GPU besides what torch's allocator holds: the CUDA context and
the libraries' kernels. An estimate: no GPU has been measured."""
SPARE = 1.2
"""Factor on a cell's measured peak, for what a few steps and an evaluation do not show: batches of
another length, fragments."""
_RAYS_DIGITS = 10_000
"""Ray counts a GPU in parts of 1/10,000."""


@dataclass(frozen=True, kw_only=True)
class Together:
    """What a number of equal cells did on one GPU, side by side."""

    cells: int
    tokens_per_second: float = 0.0
    """Of all together."""
    peak_bytes: int = 0
    """Most that torch's allocator held for one of them."""
    out_of_memory: bool = False


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a GPU and its host have for cells."""

    gpu_bytes: int
    """Memory of the GPU."""
    processes: int
    """That the CPUs of the host allow for each of its GPUs."""


@dataclass(frozen=True, kw_only=True)
class Packing:
    """A decision."""

    cells: int
    """On each GPU."""
    reason: str
    speedup: float = 1.0
    """Tokens/s of these cells together over those of one alone; 1 where it was not measured."""

    def as_whole_gpus(self, at_once: int) -> float:
        """How many cells with a GPU of their own train as fast as so many that share them."""
        return max(1.0, self.speedup * at_once / self.cells)


def fitting(limits: Limits, peak_bytes: int) -> int:
    """Cells of this peak that fit in the GPU's memory; 0 if not even one does with its reserve."""
    return limits.gpu_bytes // (math.ceil(SPARE * peak_bytes) + CONTEXT_BYTES)


def next_to_measure(limits: Limits, measured: Sequence[Together]) -> int | None:
    """The number of cells to try next: 1, 2, 4, … and the limit; None once the number is decided.

    measured: what was tried, in this order.
    """
    if not measured:
        return 1
    last = measured[-1]
    most = _most(limits, measured[0])
    gains = len(measured) == 1 or _gain(measured[-2], last) >= LEAST_GAIN
    if last.out_of_memory or not gains or last.cells >= most:
        return None
    return min(2 * last.cells, most)


def packing(limits: Limits, measured: Sequence[Together]) -> Packing:
    """The number of cells a GPU, and why.

    The first thing measured is one cell alone: the largest of the sweep, as its peak counts.
    """
    alone = measured[0]
    memory = formats.size(limits.gpu_bytes)
    if alone.out_of_memory:
        return Packing(cells=1, reason=f"the largest cell ran out of {memory} of memory alone")
    each = f"{formats.size(alone.peak_bytes)} a cell and a reserve"
    fit = fitting(limits, alone.peak_bytes)
    if fit <= 1:
        return Packing(cells=1, reason=f"{memory} of memory holds no two cells: {each}")
    room = f"{memory} of memory holds {fit} cells ({each})"
    if limits.processes < min(fit, MOST_CELLS):
        room += f", the CPUs allow {max(1, limits.processes)}"
    best = alone
    steps = []
    for tried in measured[1:]:
        if tried.out_of_memory:
            steps.append(f"{tried.cells} ran out of memory")
            break
        gain = _gain(best, tried)
        steps.append(
            f"{tried.cells} train {gain:.2f} × as many tokens a second as {best.cells}"
            + ("" if gain >= LEAST_GAIN else f", less than {LEAST_GAIN:g} ×")
        )
        if gain < LEAST_GAIN:
            break
        best = tried
    return Packing(
        cells=best.cells, reason="; ".join([room, *steps]), speedup=_gain(alone, best) or 1.0
    )


def share_of_gpu(cells: int) -> float:
    """The part of a GPU that Ray is asked for, so that this many cells share it: 1 / cells, rounded
    down to the parts that Ray counts in."""
    return math.floor(_RAYS_DIGITS / cells) / _RAYS_DIGITS


def share_of_memory(share: float, gpu_bytes: int) -> float:
    """The part of a GPU's memory that torch may allocate in a process that has a share of the GPU.

    The context of each process comes on top, so it is taken off; at least half of the share stays.
    """
    return max(share / 2, share - CONTEXT_BYTES / gpu_bytes)


def _most(limits: Limits, alone: Together) -> int:
    return max(1, min(fitting(limits, alone.peak_bytes), MOST_CELLS, limits.processes))


def _gain(fewer: Together, more: Together) -> float:
    if fewer.tokens_per_second <= 0:
        return 0.0
    return more.tokens_per_second / fewer.tokens_per_second
