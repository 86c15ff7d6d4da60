"""How many cells share a GPU: a table of what was measured and what follows."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from tune_app.cluster.capacity import Machines
from tune_app.cluster.packing import (
    CONTEXT_BYTES,
    MOST_NAMED,
    Limits,
    Together,
    fitting,
    next_to_measure,
    packing,
    share_of_gpu,
    share_of_memory,
)

GIB = 2**30
BIG = Limits(gpu_bytes=80 * GIB, processes=64)


def tried(speeds: Mapping[int, float | None], *, peak: int = GIB) -> list[Together]:
    """What was measured, by the number of cells; None for one that ran out of memory."""
    return [
        Together(cells=cells, peak_bytes=peak, tokens_per_second=speed)
        if speed is not None
        else Together(cells=cells, out_of_memory=True)
        for cells, speed in speeds.items()
    ]


@pytest.mark.parametrize(
    ("limits", "peak", "speeds", "cells", "said"),
    [
        (BIG, GIB, {1: 100, 2: 190, 4: 300, 8: 400}, 8, "8 train 1.33 × as many tokens a second"),
        (BIG, GIB, {1: 100, 2: 190, 4: 200}, 2, "4 train 1.05 × .* as 2, less than 1.1 ×"),
        (BIG, GIB, {1: 100, 2: 109.9}, 1, "2 train 1.10 × .*, less than 1.1 ×"),
        (BIG, GIB, {1: 100, 2: 110, 4: 120}, 2, "2 train 1.10 × .*; 4 train 1.09 ×"),
        (BIG, GIB, {1: 100, 2: 190, 4: None}, 2, "4 ran out of memory"),
        (BIG, GIB, {1: 100, 2: None}, 1, "2 ran out of memory"),
        (BIG, GIB, {1: None}, 1, "the largest cell ran out of 80 GiB of memory alone"),
        (BIG, 70 * GIB, {1: 100}, 1, "80 GiB of memory holds no two cells"),
        (BIG, 90 * GIB, {1: 100}, 1, "holds no two cells"),
        (
            Limits(gpu_bytes=6 * GIB, processes=64),
            GIB,
            {1: 100, 2: 190, 3: 270},
            3,
            "holds 3 cells",
        ),
        (Limits(gpu_bytes=80 * GIB, processes=2), GIB, {1: 100, 2: 190}, 2, "the CPUs allow 2"),
        (BIG, GIB, {1: 0.0, 2: 0.0}, 1, "less than"),
    ],
)
def test_more_cells_are_taken_while_they_fit_and_gain(
    limits: Limits, peak: int, speeds: dict[int, float | None], cells: int, said: str
) -> None:
    measured = tried(speeds, peak=peak)
    found = packing(limits, measured)
    assert found.cells == cells
    assert re.search(said, found.reason), found.reason
    # What was measured is what would have been measured, and nothing more.
    for number in range(len(measured)):
        assert next_to_measure(limits, measured[:number]) == measured[number].cells
    assert next_to_measure(limits, measured) is None


def test_a_time_is_that_of_as_many_whole_gpus() -> None:
    found = packing(BIG, tried({1: 100, 2: 190, 4: 250, 8: 260}))
    assert (found.cells, found.speedup) == (4, 2.5)
    assert found.as_whole_gpus(8) == 5.0, "two GPUs, each of which does the work of 2.5"
    assert found.as_whole_gpus(1) == 1.0


@pytest.mark.parametrize("cells", range(1, MOST_NAMED + 1))
def test_ray_fits_as_many_cells_on_a_gpu_as_were_asked_for(cells: int) -> None:
    share = share_of_gpu(cells)
    assert cells * share <= 1
    machine = Machines(name="gpu", number=1, cpus=999, gpus=1)
    assert machine.cells_each(cpus=1, gpus=share) == cells


@pytest.mark.parametrize("cells", [2, 3, 8])
def test_the_memory_of_all_processes_is_no_more_than_the_gpu_has(cells: int) -> None:
    gpu = 24 * GIB
    allowed = share_of_memory(share_of_gpu(cells), gpu) * gpu
    assert cells * (allowed + CONTEXT_BYTES) <= gpu
    # A cell that was counted as fitting has the room that was counted for it.
    peak = next(peak for peak in range(24 * GIB, 0, -GIB // 8) if fitting_cells(gpu, peak) >= cells)
    assert peak < allowed


def fitting_cells(gpu: int, peak: int) -> int:
    return fitting(Limits(gpu_bytes=gpu, processes=99), peak)


def test_a_small_share_keeps_half_of_itself_beside_its_context() -> None:
    assert share_of_memory(0.1, 4 * GIB) == 0.05
