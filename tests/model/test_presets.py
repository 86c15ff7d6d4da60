"""Presets have the counts of their descriptions; smaller ones keep their proportions."""

from __future__ import annotations

import math

import pytest

from model.parts.polyglu import PolyGLU
from model.presets import PRESETS, Ratios, preset, scaled, settings_of
from model.sizing.budget import solve
from model.sizing.counts import count_parameters
from model.spec import ModelSpec
from tests.model.sizing.built import count_built

PUBLISHED = {
    "stellux-10m": "10.02M",
    "yxanul": "112.93M",
    "yxanul-factorized": "87.40M",
    "yxanul-200k": "381.54M",
    "yxanul-200k-factorized": "125.73M",
    "polychromatic-600m": "597.15M",
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_counts_as_built(name: str) -> None:
    config = PRESETS[name].config
    total = count_parameters(config).total
    assert count_built(config) == total
    assert name not in PUBLISHED or f"{total / 1e6:.2f}M" == PUBLISHED[name]


def test_counts_that_are_known_exactly() -> None:
    polychromatic = PRESETS["polychromatic-600m"].config
    assert count_parameters(polychromatic).total == 597_153_888
    assert PolyGLU().routing(polychromatic) == 1_380_960
    scaletrain = count_parameters(PRESETS["scaletrain"].config)
    assert round((scaletrain.total - scaletrain.embedding) / 1e6, 2) == 9.44
    assert PRESETS["stellux-10m"].config == solve(ModelSpec())


@pytest.mark.parametrize(
    ("name", "most"), [("yxanul-factorized", 1.1), ("polychromatic-600m", 1.1), ("scaletrain", 1.2)]
)
def test_a_smaller_one_keeps_the_proportions(name: str, most: float) -> None:
    model = PRESETS[name].config
    small = scaled(model, target_parameters=10_000_000, vocab_size=16_000, context=256)
    assert count_parameters(small).total == pytest.approx(10_000_000, rel=0.005)
    assert (small.vocab_size, small.context) == (16_000, 256)
    for kept in ("embedding", "attention", "feed_forward", "norm", "rotary_base"):
        assert getattr(small, kept) == getattr(model, kept)
    old, new = Ratios.of(model), Ratios.of(small)
    assert new.group == old.group
    assert new.expansion == pytest.approx(old.expansion, rel=0.02)
    assert new.rank == pytest.approx(old.rank, rel=0.02)
    assert abs(math.log(new.depth / old.depth)) < math.log(most)
    # Whole groups of heads leave no nearer number.
    heads = small.d_model * old.heads
    assert abs(small.n_heads - heads) <= old.group


@pytest.mark.parametrize("name", ["yxanul-200k-factorized", "polychromatic-600m", "stellux-10m"])
def test_its_settings_ask_for_that_model(name: str) -> None:
    small = scaled(PRESETS[name].config, target_parameters=10_000_000, vocab_size=16_000)
    again = solve(ModelSpec.from_values(settings_of(small)))
    assert {**again.values(), "d_ff": 0} == {**small.values(), "d_ff": 0}
    assert again.d_ff == pytest.approx(small.d_ff, rel=0.03)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown preset 'yxnul'; did you mean yxanul\? expected"):
        preset("yxnul")
    with pytest.raises(
        ValueError, match="20,000 parameters with a vocabulary of 16,000: the vocab"
    ):
        scaled(PRESETS["yxanul"].config, target_parameters=20_000, vocab_size=16_000)
