"""What the table of variants trains, and what it states."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.variant_table import BASE, CONTENDERS, Run, cell_of, table_rows
from model.parts.embeddings import EMBEDDINGS
from model.parts.feed_forwards import FEED_FORWARDS
from model.sizing.budget import solve
from model.sizing.counts import count_parameters
from model.spec import ModelSpec

RUN = Run(
    key="a",
    variant=BASE,
    seed=0,
    corpus="reviews",
    tokens=100,
    own_tokens=100,
    tokens_per_byte=0.25,
    bits_per_byte=2.0,
    tokens_per_second=1_000.0,
    cpu_seconds=1.0,
    parameters=10,
    active=10,
    memory_mib=50.0,
)


def test_every_variant_is_trained_at_one_width_depth_and_budget() -> None:
    specs = {name: cell_of(name, {}).model for name in CONTENDERS}
    usable = {name for name, part in FEED_FORWARDS.items() if not part.not_for_training}
    assert {spec.feed_forward for spec in specs.values()} == usable
    assert {spec.embedding for spec in specs.values()} == set(EMBEDDINGS)
    keys = {cell_of(name, {"seed": seed}).key for name in CONTENDERS for seed in (0, 1)}
    assert len(keys) == 2 * len(CONTENDERS)
    for name, spec in specs.items():
        config = solve(ModelSpec(**spec.values()))
        assert (config.d_model, config.n_layers) == (80, 8), name
        count = count_parameters(config)
        counted = count.active if spec.budget == "active" else count.total
        assert counted == pytest.approx(1_000_000, rel=5e-3), name


def test_a_row_states_the_difference_on_the_same_seeds() -> None:
    runs = [
        replace(
            RUN,
            variant=name,
            seed=seed,
            bits_per_byte=2.0 + behind + 0.3 * seed + 0.01 * (-1) ** seed * (behind > 0),
            tokens_per_second=speed,
        )
        for name, behind, speed in ((BASE, 0.0, 1_000.0), ("relu", 0.1, 1_500.0))
        for seed in (0, 1, 2)
    ]
    base, relu = table_rows(runs)
    assert (base[0], base[1], base[3]) == (BASE, "3", "")
    assert relu[3].startswith("+0.1033 (+0.0")
    assert relu[7] == "1.50"
    assert [row[0] for row in table_rows(runs[:1])] == [BASE]
