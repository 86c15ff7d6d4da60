"""What a plan says of rates and time, without timing anything."""

from __future__ import annotations

import pytest

from model.sizing.cost import training_flops_per_token
from tune_app.plan.cell import Cell
from tune_app.plan.plan import make_plan
from tune_app.plan.solved import SolvedModels
from tune_app.plan.space import Space
from tune_app.plan.wishes import Wishes
from tune_app.sweep.estimate import _row, end_seconds, plan_rows, trained_as_tokens

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


def test_only_what_is_still_to_train_and_to_score_takes_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a cell that goes on from a checkpoint; the dev split at the end is scored whole."""
    monkeypatch.setattr("tune_app.sweep.estimate._seconds_per_token", lambda *_, **__: 1e-3)
    space = Space(name="x", axes={"glu_expansion": [2.66, 3.0]}, fixed=SIZES)
    plan = make_plan(space, Wishes(tokens=100_000))
    begun, anew = plan.cells
    done = {begun.key: 0.4}

    def seconds(dev_bytes: int, **changed: dict[str, float]) -> list[float | None]:
        rows = plan_rows(plan, threads=1, device="cpu", dev_bytes=dev_bytes, **changed)
        return [row.expected_seconds for row in rows]

    (whole, other), (left, unchanged) = seconds(0), seconds(0, done=done)
    assert whole is not None and other is not None
    assert left == pytest.approx(0.6 * whole) and unchanged == other
    dev = 300_000
    rows, shorter = (
        plan_rows(plan, threads=1, device="cpu", dev_bytes=dev, done=one) for one in ({}, done)
    )
    assert shorter[0].expected_seconds is not None
    assert shorter[0].expected_seconds > 0.6 * (rows[0].expected_seconds or 0)
    both = {begun.key: 0.4, anew.key: 0.4}
    halves = plan_rows(plan, threads=1, device="cpu", dev_bytes=dev, done=both)
    assert end_seconds(plan, halves, dev=dev, test=dev, done=both) == pytest.approx(
        end_seconds(plan, rows, dev=dev, test=dev)
    ), "what is scored at the end does not depend on where training began"
