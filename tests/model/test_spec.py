from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from model.spec import ModelConfig, ModelSpec

SIZES: dict[str, Any] = {
    "vocab_size": 100,
    "context": 16,
    "d_model": 24,
    "n_layers": 2,
    "n_heads": 2,
    "head_dim": 10,
    "d_ff": 60,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_parameters": 0}, "target_parameters is 0; it must be a whole number"),
        ({"target_parameters": 1e7}, "target_parameters is 10000000.0; it must be a whole number"),
        ({"vocab_size": -1}, "vocab_size is -1"),
        ({"n_heads": True}, "heads is True"),
        ({"context": "256"}, "context is '256'"),
        ({"embedding_ratio": 35}, "embedding_ratio is 35; .* for example 0.35 for 35 %"),
        ({"embedding_ratio": 0.0}, "embedding_ratio is 0.0"),
        ({"embedding_ratio": 1.0}, "embedding_ratio is 1.0"),
        ({"embedding_ratio": math.nan}, "embedding_ratio is nan"),
        ({"embedding_ratio": "0.35"}, "embedding_ratio is '0.35'; it must be a number"),
        ({"glu_expansion": 0}, "glu_expansion is 0; it must be a number between 0 and 64"),
        ({"glu_expansion": 65}, "glu_expansion is 65"),
        ({"glu_expansion": math.inf}, "glu_expansion is inf"),
        ({"d_model": 220.0}, "d_model is 220.0; .* or None to leave it free"),
        ({"n_layers": 0}, "n_layers is 0; it must be a whole number of at least 1, or None"),
        ({"d_ff": True}, "d_ff is True"),
        ({"head_dim": 9}, "head_dim is 9; it must be even, .* try 10"),
        ({"vocab_size": None}, "vocab_size is None"),
        ({"norm": "layer_norm"}, "norm is 'layer_norm'; known: rms_norm"),
        ({"embedding": "none"}, "embedding is 'none'; known: tied, untied"),
        ({"attention": "linear"}, "attention is 'linear'; known: multi_head"),
        ({"n_kv_heads": 8}, "n_kv_heads is 8, more than the 4 query heads; take one of 1, 2, 4"),
        ({"n_kv_heads": 3}, "n_kv_heads is 3, which does not divide the 4 query heads; .* 1, 2, 4"),
        ({"n_kv_heads": 0}, "n_kv_heads is 0; it must be a whole number of at least 1, or None"),
        ({"kv_share": 0.4}, "kv_share is 0.4; it must be 1 over a whole number"),
        ({"kv_share": 2}, "kv_share is 2; it must be a number between 0 and 1"),
        ({"kv_share": math.nan}, "kv_share is nan; it must be a number between 0 and 1"),
        ({"kv_share": 1e-300}, "kv_share is 1 key-value head for .* do not divide the 4 query"),
        ({"kv_share": 0.33}, "kv_share is 1 key-value head for 3 query heads, which do not divide"),
        ({"kv_share": 0.5, "n_kv_heads": 2}, "kv_share is 0.5 and n_kv_heads 2; set one of them"),
        ({"rotary_base": 1}, "rotary_base is 1; it must be a finite number above 1"),
        ({"rotary_base": math.inf}, "rotary_base is inf"),
        ({"document_masking": 1}, "document_masking is 1; it must be true or false"),
        ({"dropout": 1.0}, "dropout is 1.0; it must be a probability from 0 to less than 1"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"feed_forward": ["swiglu"]}, "feed_forward is .*; known: swiglu"),
        ({"embedding_rank": 8}, "'tied' has no rank; .* set embedding to factorized or"),
        ({"embedding": "factorized", "embedding_rank": 0}, "embedding_rank is 0; it must be a who"),
        (
            {"embedding": "factorized", "embedding_rank": 64, "d_model": 64},
            "embedding_rank is 64; it must be less than d_model, which is 64: .* at most 63",
        ),
        ({"budget": "all"}, "budget is 'all'; it must be total or active"),
        ({"n_experts": 8}, "n_experts is 8, but the feed-forward 'swiglu' has no experts; .* moe"),
        ({"feed_forward": "moe", "n_experts": 8}, "'moe' needs n_experts and top_k; set both"),
        (
            {"feed_forward": "moe", "n_experts": 2, "top_k": 4},
            "top_k is 4, but there are only 2 experts; take a top_k of at most 2, or more experts",
        ),
        (
            {"feed_forward": "moe", "n_experts": 2, "top_k": 0},
            "top_k is 0; it must be a whole number of at least 1",
        ),
        (
            {"feed_forward": "moe", "n_experts": 2, "top_k": 1, "balance_weight": math.nan},
            "balance_weight is nan; it must be a finite number of at least 0",
        ),
        (
            {"embedding": "factorized_untied", "embedding_ratio": None},
            "embedding_rank and embedding_ratio are both None, .* for example embedding_ratio",
        ),
    ],
)
def test_a_spec_refuses_what_no_model_could_have(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelSpec(**changes)


def test_a_spec_takes_the_limits_themselves() -> None:
    assert ModelSpec(glu_expansion=64).glu_expansion == 64
    assert ModelSpec(target_parameters=1, vocab_size=1, n_heads=1, context=1).context == 1


def test_a_spec_comes_back_from_its_plain_values_through_json() -> None:
    spec = ModelSpec(embedding_ratio=0.45, feed_forward="relu_squared")
    assert ModelSpec.from_values(json.loads(json.dumps(spec.values()))) == spec


def test_what_is_free_is_none_and_stays_so_through_json() -> None:
    spec = ModelSpec(embedding_ratio=None, glu_expansion=None, n_heads=None, d_model=220)
    values = json.loads(json.dumps(spec.values()))
    assert values["embedding_ratio"] is None
    assert (values["d_model"], values["n_layers"]) == (220, None)
    assert ModelSpec.from_values(values) == spec


def test_a_property_that_no_spec_has_is_named() -> None:
    with pytest.raises(ValueError, match=r"unknown property 'embeding_ratio' .* embedding_ratio"):
        ModelSpec.from_values({"embeding_ratio": 0.35})


def test_specs_and_configs_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        ModelSpec().n_heads = 8  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        ModelConfig(**SIZES).d_model = 8  # type: ignore[misc]


def test_a_config_knows_its_attention_width_and_expansion() -> None:
    config = ModelConfig(**SIZES)
    assert config.d_attention == 20
    assert config.expansion == 2.5
    assert ModelConfig(**config.values()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 0}, "d_model is 0"),
        ({"n_layers": 2.0}, "n_layers is 2.0"),
        ({"head_dim": 9}, "head_dim is 9; it must be even, .* try 10"),
        ({"embedding": "both"}, "embedding is 'both'"),
        ({"n_kv_heads": 4}, "n_kv_heads is 4, more than the 2 query heads; take one of 1, 2"),
        ({"dropout": True}, "dropout is True; it must be a probability"),
    ],
)
def test_a_config_refuses_sizes_that_no_model_could_have(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{**SIZES, **changes})
