"""Cells at once follow the memory of a small container, not the CPUs of its host."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from tune_app.cluster.options import Means
from tune_app.plan.plan import make_plan
from tune_app.plan.space import Space
from tune_app.plan.wishes import Wishes
from tune_app.sweep.memory import cell_bytes, within_memory

GIB = 2**30
CELLS = make_plan(
    Space(name="x", axes={"embedding_ratio": [0.9]}, fixed={"target_parameters": 1_000_000}),
    Wishes(vocab_size=4_096),
).cells


def means(cells_at_once: int, device: str = "cpu") -> Means:
    return Means(cells_at_once=cells_at_once, cpus=1, gpus=0.0, device=device)


def test_a_cell_needs_its_process_its_state_and_its_activations() -> None:
    baseline, infeasible = CELLS
    assert 0.35 * GIB < cell_bytes(baseline) < 2 * GIB
    assert cell_bytes(infeasible) == 0


def test_a_small_container_trains_fewer_cells_at_once_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    each = cell_bytes(CELLS[0])
    with caplog.at_level(logging.WARNING):
        assert within_memory(means(64), CELLS, memory=GIB + 5 * each).cells_at_once == 5
    assert caplog.messages[0].startswith("5 at once, of the 64 cells that the CPUs allow: ")
    assert "--cells-at-once" in caplog.messages[0]
    assert within_memory(means(64), CELLS, memory=GIB // 2).cells_at_once == 1


@pytest.mark.parametrize(
    ("given", "memory"),
    [(means(4), 64 * GIB), (means(4), None), (means(4, "cuda"), GIB), (means(4, "mps"), GIB)],
)
def test_enough_memory_changes_nothing(given: Means, memory: int | None) -> None:
    assert within_memory(given, CELLS, memory=memory) is given


def test_a_sweep_without_cells_left_needs_no_memory() -> None:
    assert within_memory(means(4), CELLS[1:], memory=1) == means(4)


def test_gradient_checkpointing_needs_less() -> None:
    values = {**CELLS[0].values, "gradient_checkpointing": True}
    assert cell_bytes(replace(CELLS[0], values=values)) < cell_bytes(CELLS[0]) - 2**24
