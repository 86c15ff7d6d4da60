"""What the measurement of the solver's choice trains, and what it states."""

from __future__ import annotations

import math

import pytest

from benchmarks.shape_choice import Run, seed_noise, spread, spread_shapes
from model.sizing.budget import solve
from model.spec import ModelSpec

SPEC = ModelSpec(
    target_parameters=950_000, vocab_size=4_096, n_heads=2, embedding_ratio=0.25, glu_expansion=2.0
)


def run(n_layers: int, d_attention: int, bits_per_byte: float, seed: int = 0) -> Run:
    return Run(
        cell="mine",
        seed=seed,
        d_model=64,
        n_layers=n_layers,
        d_attention=d_attention,
        d_ff=128,
        chosen=n_layers == 8,
        settings={},
        bits_per_byte=bits_per_byte,
    )


def test_shapes_are_admissible_far_apart_and_begin_with_the_chosen_one() -> None:
    shapes = spread_shapes(SPEC)
    assert shapes[0] == solve(SPEC)
    assert len(set(shapes)) == 6
    depths = [shape.n_layers for shape in shapes]
    assert (min(depths), max(depths)) == (9, 32)
    near = [shape for shape in shapes if 2 / 3 <= shape.d_attention / shape.d_model <= 1.5]
    assert len(near) == 4


def test_the_spread_is_that_of_means_over_seeds() -> None:
    runs = [run(8, 64, 2.0), run(8, 64, 2.2, 1), run(12, 64, 2.3), run(12, 64, 2.1, 1)]
    assert spread(runs, "mine") == pytest.approx(0.1)
    runs.append(run(3, 256, 2.5))
    assert spread(runs, "mine") == pytest.approx(0.4)
    assert spread(runs, "mine", near=1.5) == pytest.approx(0.1)
    assert seed_noise(runs) == pytest.approx(0.2 / math.sqrt(2))
