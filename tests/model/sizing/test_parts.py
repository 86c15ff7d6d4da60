"""What parts say of themselves: hand counts, the built model, and the contract of the search."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from model.network.attention import ATTENTIONS
from model.network.embeddings import EMBEDDINGS
from model.network.feed_forward import FEED_FORWARDS
from model.network.norms import NORMS
from model.parts.part import Part
from model.parts.variants import VARIANTS, Parts
from model.sizing.counts import count_parameters
from model.spec import ModelConfig
from tests.model.sizing.built import count_built
from tests.model.variants import with_variants

CONFIG = ModelConfig(
    vocab_size=101, context=16, d_model=24, n_layers=3, n_heads=2, head_dim=10, d_ff=37
)

BY_HAND = {
    "embedding": {
        "tied": 101 * 24,
        "untied": 2 * 101 * 24,
        "factorized": 101 * 5 + 5 * 24,
        "factorized_untied": 2 * (101 * 5 + 5 * 24),
    },
    "attention": {"multi_head": 3 * (4 * 24 * 20), "qk_norm": 3 * (4 * 24 * 20 + 2 * 10)},
    "feed_forward": {
        "swiglu": 3 * (3 * 24 * 37),
        "geglu": 3 * (3 * 24 * 37),
        "reglu": 3 * (3 * 24 * 37),
        "relu_squared": 3 * (2 * 24 * 37),
        "relu": 3 * (2 * 24 * 37),
        "gelu": 3 * (2 * 24 * 37),
        "moe": 3 * (24 * 4 + (4 + 1) * 3 * 24 * 37),
        "polyglu": 3 * (3 * 24 * 37 + 4 * 37 + 4 + 33 * 4 + 25 * 32),
        "polyglu_published": 3 * (3 * 24 * 37 + 4 * 37 + 4 + 33 * 4 + 25 * 32),
    },
    "norm": {"rms_norm": 3 * (2 * 24) + 24},
}
"""Parameters of each variant in CONFIG."""

# The size that the search varies for each part.
SEARCHED = {
    "embedding": {"d_model", "embedding_rank"},
    "attention": {"head_dim"},
    "feed_forward": {"d_ff"},
    "norm": {None},
}

SIZES = ("vocab_size", "context", "d_model", "n_layers", "n_heads", "head_dim", "d_ff")


def config_of(names: Mapping[str, str]) -> ModelConfig:
    """CONFIG with these variants."""
    return with_variants(CONFIG, names)


EVERY = [(kind, name) for kind, variants in VARIANTS.items() for name in variants]


def test_every_variant_is_counted_by_hand() -> None:
    counts = {
        kind: {name: part.parameters(config_of({kind: name})) for name, part in variants.items()}
        for kind, variants in VARIANTS.items()
    }
    assert counts == BY_HAND


@pytest.mark.parametrize("names", list(itertools.product(*VARIANTS.values())), ids="-".join)
def test_every_combination_counts_as_built(names: tuple[str, ...]) -> None:
    config = config_of(dict(zip(VARIANTS, names, strict=True)))
    assert count_built(config) == count_parameters(config).total


def test_parts_and_modules_have_the_same_names() -> None:
    modules = {
        "embedding": EMBEDDINGS,
        "attention": ATTENTIONS,
        "feed_forward": FEED_FORWARDS,
        "norm": NORMS,
    }
    assert {kind: set(table) for kind, table in modules.items()} == {
        kind: set(variants) for kind, variants in VARIANTS.items()
    }


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_formulas_work_on_arrays_as_on_numbers(kind: str, name: str) -> None:
    part, config = VARIANTS[kind][name], config_of({kind: name})
    sizes = {**config.values(), "d_attention": config.d_attention, "d_kv": config.d_kv}
    doubled = {name: np.array([size, 2 * size]) for name, size in sizes.items() if _is_size(size)}
    for formula in (
        part.parameters,
        part.active_parameters,
        part.forward_flops,
        lambda sizes: part.activation_bytes(sizes, 2),
    ):
        together = formula(SimpleNamespace(**doubled))  # type: ignore[arg-type]
        each = [
            formula(SimpleNamespace(**{name: size[i] for name, size in doubled.items()}))  # type: ignore[arg-type]
            for i in (0, 1)
        ]
        assert np.broadcast_to(together, 2).tolist() == each
        assert formula(config) == each[0]


def _is_size(value: object) -> bool:
    return isinstance(value, int)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_counts_keep_the_contract_that_the_search_relies_on(kind: str, name: str) -> None:
    part, config = VARIANTS[kind][name], config_of({kind: name})
    assert part.free in {*SEARCHED[kind], None}
    heads = {"n_heads", "head_dim"} if kind == "attention" else set()
    may_depend = {"vocab_size", "d_model", "n_layers", part.free, *heads}
    before = part.parameters(config)
    sizes = (*SIZES, part.free) if part.free not in {*SIZES, None} else SIZES
    for size in sizes:
        assert size is not None
        after = part.parameters(replace(config, **{size: 2 * getattr(config, size)}))  # type: ignore[arg-type]
        assert after >= before, f"fewer parameters for a larger {size}"
        assert after == before or size in may_depend, f"depends on {size}"


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_the_rows_of_a_part_add_up_to_its_parameters(kind: str, name: str) -> None:
    part: Part = VARIANTS[kind][name]
    config = config_of({kind: name})
    rows = part.rows(config)
    assert sum(row.parameters for row in rows) == part.parameters(config)
    assert all(row.shape for row in rows)


def test_all_parameters_are_active_where_nothing_is_routed() -> None:
    assert count_parameters(CONFIG).active == count_parameters(CONFIG).total
    total = sum(part.parameters(CONFIG) for part in Parts.of(CONFIG))
    assert total == count_parameters(CONFIG).total


def test_shares_by_hand() -> None:
    config = ModelConfig(
        vocab_size=1000, context=8, d_model=16, n_layers=2, n_heads=2, head_dim=6, d_ff=40
    )
    count = count_parameters(config)
    assert (count.embedding, count.lm_head) == (16_000, 0)
    assert count.attention == 2 * 4 * 16 * 12
    assert count.feed_forward == 2 * 3 * 16 * 40
    assert count.norms == 2 * 2 * 16 + 16
    assert count.total == 16_000 + 1_536 + 3_840 + 80
    assert count.embedding_share == 16_000 / 21_456
    untied = count_parameters(replace(config, embedding="untied"))
    assert untied.lm_head == 16_000
    assert untied.total == count.total + 16_000
    assert untied.embedding_share == 32_000 / 37_456


@pytest.mark.parametrize("attention", VARIANTS["attention"])
def test_fewer_key_value_heads_by_hand_and_as_built(attention: str) -> None:
    config = replace(CONFIG, n_heads=6, n_kv_heads=2, attention=attention)
    norms = 2 * 10 if attention == "qk_norm" else 0
    count = count_parameters(config)
    assert count.attention == 3 * (2 * 24 * 60 + 2 * 24 * 20 + norms)
    assert count.total == count_built(config)
    (row,) = Parts.of(config).attention.rows(config)
    assert row.shape.startswith("3 layers, 6 heads of 10, 24 × 60, 2 of keys and values")
    fewer, all_heads = (Parts.of(c).attention for c in (config, replace(config, n_kv_heads=None)))
    saved = 3 * 2 * 24 * (60 - 20)
    assert all_heads.parameters(replace(config, n_kv_heads=None)) - count.attention == saved
    flops = all_heads.forward_flops(replace(config, n_kv_heads=6)) - fewer.forward_flops(config)
    assert flops == 2 * saved
