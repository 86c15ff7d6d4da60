"""Tokens a second of several cells on one GPU, as `--cells-per-gpu auto` measures them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from benchmarks.gpu_check.timing import GPU
from tune_app import formats
from tune_app.plan.rows import PlannedCell
from tune_app.sweep.gpu_probe import Measure, ProbeError, measured_on
from tune_app.sweep.mps import overlapping

NUMBERS = (1, 2, 4, 8)


def sharing(
    cell: PlannedCell,
    *,
    device: str = GPU,
    numbers: tuple[int, ...] = NUMBERS,
    measure: Callable[..., Measure] = measured_on,
    overlap: Callable[[], AbstractContextManager[str]] = overlapping,
) -> Iterator[str]:
    """Copies of a cell, eager and as one graph a step, by their number.

    Args:
        cell: feasible.
        device: of this machine.
        numbers: of copies; the first one is what the others are compared with.
        measure: what measures a number of them.
        overlap: how they are let share the device.
    """
    with overlap() as how:
        yield f"Copies of the baseline side by side, shared by {how}."
        yield ""
        yield "| steps | cells | tokens/s together | over one | peak of a cell |"
        yield "|---|---|---|---|---|"
        for name, graph in {"eager": False, "one graph": True}.items():
            measured = measure(device, cell, threads=1, cuda_graph=graph)
            alone: float | None = None
            for number in numbers:
                try:
                    together, _ = measured(number)
                except ProbeError as error:
                    yield f"| {name} | {number} | {error} | | |"
                    break
                if together.out_of_memory:
                    yield f"| {name} | {number} | out of memory | | |"
                    break
                speed = together.tokens_per_second
                alone = speed if alone is None else alone
                yield (
                    f"| {name} | {number} | {speed:,.0f} | {speed / alone:.2f} | "
                    f"{formats.size(together.peak_bytes)} |"
                )
