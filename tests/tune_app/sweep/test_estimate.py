"""What a plan says of rates and time, without timing anything."""

from __future__ import annotations

import pytest

from model.sizing.cost import training_flops_per_token
from tune_app.plan.cell import Cell
from tune_app.plan.plan import make_plan
from tune_app.plan.solved import SolvedModels
from tune_app.plan.space import Space
from tune_app.plan.wishes import Wishes
from tune_app.sweep.estimate import _row, trained_as_tokens

SIZES = {"target_parameters": 1_000_000, "vocab_size": 4_096, "tokens": 100_000}


def test_a_curriculum_costs_what_attention_to_fewer_positions_costs() -> None:
    plain = Cell.from_values({**SIZES, "context": 256})
    config = SolvedModels.of(plain).model
    assert trained_as_tokens(plain.settings, config) == 100_000
    grown = Cell.from_values({**SIZES, "context": 256, "curriculum": "10%:64,40k:128"})
    tokens = trained_as_tokens(grown.settings, config)
    whole = training_flops_per_token(config)
    # Scores and sums of values: 4 · d_attention a position, three times, on average (T + 1) / 2.
    per_position = 12 * config.n_layers * config.n_heads * config.head_dim
    saved = per_position * (10_000 * (256 - 64) / 2 + 40_000 * (256 - 128) / 2)
    assert 100_000 - tokens == pytest.approx(saved / whole, rel=1e-3)


def test_muons_rate_is_shown_for_cells_of_muon() -> None:
    axes = {"optimizer": ["adamw", "muon"], "d_model": [40, 80]}
    fixed = {**SIZES, "embedding_ratio": None, "n_heads": 2}
    plan = make_plan(Space(name="x", axes=axes, fixed=fixed), Wishes(tokens=100_000))
    rows = {cell.label: _row(cell, 1e-12, "cpu", 0) for cell in plan.cells}
    wide = [row.hidden_rate for label, row in rows.items() if label.startswith("muon")]
    assert wide
    assert set(wide) == {1.0}, "Muon needs no reference width"
    assert rows["adamw × 40"].hidden_rate == pytest.approx(80 / 40)
