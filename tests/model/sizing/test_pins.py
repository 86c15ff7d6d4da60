"""Pins: sizes asked for outright, ratios left free, and one size that absorbs the budget."""

from __future__ import annotations

from typing import Any

import pytest

from model.sizing.budget import InfeasibleBudget, solve
from model.sizing.counts import count_parameters
from model.spec import ModelConfig, ModelSpec

SHAPE = {"d_model": 220, "n_layers": 8, "embedding_ratio": None}


def solved(**wishes: Any) -> ModelConfig:
    return solve(ModelSpec(**wishes))


def test_what_is_pinned_is_what_is_built() -> None:
    config = solved(d_model=216, n_layers=10, head_dim=56, embedding_ratio=None, glu_expansion=None)
    assert (config.d_model, config.n_layers, config.head_dim) == (216, 10, 56)
    assert count_parameters(config).total == pytest.approx(10_000_000, rel=0.005)


def test_at_a_pinned_shape_the_inner_width_absorbs_what_variants_cost() -> None:
    variants = ["swiglu", "geglu", "reglu", "relu_squared"]
    configs = [
        solved(**SHAPE, glu_expansion=None, feed_forward=feed_forward) for feed_forward in variants
    ]
    assert {(c.d_model, c.n_layers, c.n_heads, c.head_dim) for c in configs} == {(220, 8, 4, 56)}
    gated, *_, plain = (config.d_ff for config in configs)
    assert plain == pytest.approx(1.5 * gated, rel=0.02)


def test_at_a_pinned_shape_and_expansion_attention_absorbs_and_nothing_else_moves() -> None:
    configs = [
        solved(
            **{**SHAPE, "n_layers": 11}, glu_expansion=2.66, embedding=embedding, vocab_size=size
        )
        for embedding, size in (("tied", 15_000), ("tied", 16_000), ("tied", 17_000))
    ]
    assert len({(c.d_model, c.n_layers, c.d_ff) for c in configs}) == 1
    widths = [config.d_attention for config in configs]
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 3


def test_where_nothing_is_free_the_budget_is_only_checked() -> None:
    sizes = {"d_model": 64, "n_layers": 4, "n_heads": 2, "head_dim": 32, "d_ff": 200}
    free = {"embedding_ratio": None, "glu_expansion": None, "vocab_size": 1_000}
    # 1000·64 + 4·(4·64·64 + 3·64·200 + 2·64) + 64
    assert solved(**sizes, **free, target_parameters=283_712).d_ff == 200
    with pytest.raises(InfeasibleBudget, match=r"these sizes make 283\.7k; nearest: "):
        solved(**sizes, **free, target_parameters=320_000)


def test_depth_alone_may_be_pinned_and_the_width_follows_from_the_share() -> None:
    configs = [solved(n_layers=8, glu_expansion=None, embedding_ratio=s) for s in (0.3, 0.35, 0.4)]
    assert {config.n_layers for config in configs} == {8}
    assert all(0.9 < config.d_attention / config.d_model < 1.1 for config in configs)
    for config, share in zip(configs, (0.3, 0.35, 0.4), strict=True):
        assert count_parameters(config).embedding_share == pytest.approx(share, abs=0.01)


def test_without_a_share_depth_stays_near_the_reference() -> None:
    for vocab_size in (1_000, 3_000, 8_000, 16_000):
        config = solved(embedding_ratio=None, vocab_size=vocab_size)
        assert config.n_layers == pytest.approx(12, abs=1)
        assert config.expansion == pytest.approx(2.66, rel=0.02)


def test_free_heads_follow_from_the_width_or_from_their_size() -> None:
    assert solved(d_model=256, embedding_ratio=None, n_heads=None).n_heads == 4
    assert solved(d_model=150, embedding_ratio=None, n_heads=None).n_heads == 2
    config = solved(d_model=256, embedding_ratio=None, n_heads=None, head_dim=32)
    assert config.head_dim == 32
    assert 6 <= config.n_heads <= 10


def test_a_rank_sets_share_and_width_apart() -> None:
    for embedding in ("factorized", "factorized_untied"):
        ranks = []
        for share in (0.15, 0.25, 0.35):
            config = solved(d_model=320, embedding=embedding, embedding_ratio=share)
            assert config.d_model == 320
            assert config.embedding_rank is not None
            assert count_parameters(config).embedding_share == pytest.approx(share, abs=0.01)
            ranks.append(config.embedding_rank)
        assert ranks == sorted(set(ranks))
    pinned = solved(embedding="factorized", embedding_rank=64, embedding_ratio=None)
    assert pinned.embedding_rank == 64


def test_cells_of_one_shape_and_share_have_one_rank() -> None:
    pins = {"d_model": 224, "n_layers": 11, "glu_expansion": None, "embedding": "factorized"}
    kinds = ("swiglu", "reglu", "relu", "relu_squared")
    assert len({solved(**pins, feed_forward=kind).embedding_rank for kind in kinds}) == 1


@pytest.mark.parametrize(
    ("wishes", "reason", "remedy"),
    [
        (
            {"embedding": "factorized", "embedding_rank": 200},
            "embedding_rank 200 makes the embedding share about 32.4 % at d_model 201, and little "
            "more at any other, not 35 ± 1 %",
            "take another rank, or leave embedding_rank or embedding_ratio free (None)",
        ),
        (
            {"embedding": "factorized", "embedding_rank": 200, "d_model": 224},
            "embedding_rank 200 makes the embedding share about 32.45 % at d_model 224, not",
            "leave embedding_rank or embedding_ratio free (None)",
        ),
        (
            {"embedding": "factorized", "d_model": 200},
            "no rank below d_model 200 makes the embedding share 35 ± 1 %",
            "raise the vocabulary, or take an embedding without a rank",
        ),
        (
            {"d_model": 256},
            "d_model 256 makes the embedding share about 40.96 %, not 35 ± 1 %",
            "take a d_model from 212 to 226, or leave embedding_ratio free (None)",
        ),
        (
            {"d_model": 220, "d_ff": 700},
            "d_ff 700 is 3.182 times d_model 220, not 2.66 ± 2 %",
            "take a d_ff from 574 to 596, or leave glu_expansion free (None)",
        ),
        (
            {**SHAPE, "n_heads": 16, "head_dim": 64},
            "16 heads of 64 are more than 4 times wider or narrower than d_model 220",
            "take an attention width from 55 to 880, or leave head_dim free (None)",
        ),
        ({"n_layers": 48}, "n_layers 48 is out of range", "take 2 to 32 layers"),
        ({"d_model": 4, "embedding_ratio": None}, "d_model 4 is too narrow", "take at least 8"),
        (
            {"d_model": 700, "embedding_ratio": None},
            "at d_model 700 the embedding alone is 112 % of the target",
            "take a d_model below 628, lower the vocabulary or raise the target",
        ),
        (
            {**SHAPE, "n_layers": 30, "glu_expansion": 4.0},
            "they allow no fewer than 22.",
            "leave d_model or n_layers or glu_expansion free (None), or take another target",
        ),
        (
            {**SHAPE, "n_layers": 2, "glu_expansion": 2.0},
            "they allow no more than 5.",
            "leave d_model or n_layers free (None), or take another target",
        ),
    ],
)
def test_pins_that_cannot_be_are_refused_with_limit_and_remedy(
    wishes: dict[str, Any], reason: str, remedy: str
) -> None:
    with pytest.raises(InfeasibleBudget) as caught:
        solved(**wishes)
    assert reason in caught.value.reason
    assert str(caught.value).endswith(remedy)
    for name in ("d_model", "n_layers", "head_dim", "d_ff"):
        if name in wishes:
            assert f"{name} {wishes[name]}" in str(caught.value)


def test_the_message_in_full_and_the_nearest_that_solves() -> None:
    with pytest.raises(InfeasibleBudget) as caught:
        solved(d_model=256, n_layers=8)
    assert str(caught.value) == (
        "No sizes give 10M ± 0.5 % with vocabulary 16000, embedding share 0.35, expansion 2.66, "
        "d_model 256 and n_layers 8: d_model 256 makes the embedding share about 40.96 %, not "
        "35 ± 1 %; nearest: 11.38M; take a d_model from 212 to 226, or leave embedding_ratio free "
        "(None)"
    )
    assert caught.value.nearest is not None
    nearest = solve(caught.value.nearest)
    assert (nearest.d_model, nearest.n_layers) == (256, 8)
