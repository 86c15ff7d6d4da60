"""What the benchmark of batched seeds trains is what separate runs train."""

from __future__ import annotations

import pytest
import torch

from benchmarks.batched_seeds import LEARNING_RATE, batched, largest_difference, separate, table
from model.spec import ModelConfig

CONFIG = ModelConfig(
    vocab_size=61, context=16, d_model=24, n_layers=2, n_heads=2, head_dim=10, d_ff=36
)


def test_the_losses_are_those_of_separate_runs() -> None:
    assert largest_difference(CONFIG, seeds=3, batch_size=4, steps=10) < 1e-4


def test_each_seed_has_its_own_weights_batches_and_clipping() -> None:
    together = batched(CONFIG, seeds=2, batch_size=4)
    losses = [together.step() for _ in range(2)]
    assert all(first != second for first, second in losses)
    alone = separate(CONFIG, seeds=2, batch_size=4)[1]
    found = [alone.step(learning_rate=LEARNING_RATE).loss for _ in range(2)]
    assert [second.item() for _, second in losses] == pytest.approx(found, rel=1e-5)
    assert torch.stack(losses).isfinite().all()


def test_the_table_has_a_line_for_each_number_of_seeds() -> None:
    lines = list(table(CONFIG, seeds=(1, 2), batch_size=2, rounds=2, steps=1))
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 1", "| 2"]
