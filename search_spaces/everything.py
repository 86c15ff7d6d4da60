"""How should 10M parameters be spent, of all the ways there are? A search in ten rounds of eight.

Embedding, vocabulary, tokenizer, feed-forward, attention and optimizer are chosen together, each
with the settings that only it has: a rank where the embedding is factorized, experts where the
feed-forward mixes them, a rate of Muon where Muon trains. A two-matrix feed-forward gets 3/2 of the
expansion. Optuna's TPE proposes each round from the scores of those before; what has no solution at
the budget is refused before it costs anything. One seed finds candidates, not a winner: compare
those again on several seeds in a space of their own.
"""

from optuna.distributions import FloatDistribution, IntDistribution

SEARCH = {
    "embedding": ["tied", "untied", "factorized", "factorized_untied"],
    "vocab_size": [4_000, 8_000, 16_000, 32_000],
    ("tokenizer", "tokenizer_options"): [
        ("byte_level_bpe", {}),
        ("superbpe", {"transition": 0.9}),
    ],
    "feed_forward": ["swiglu", "geglu", "reglu", "relu", "relu_squared", "gelu", "polyglu", "moe"],
    "attention": ["multi_head", "qk_norm"],
    "n_heads": [4, 8],
    "kv_share": [1.0, 0.5, 0.25],
    "document_masking": [False, True],
    "optimizer": ["adamw", "muon"],
    "learning_rate_factor": FloatDistribution(0.5, 2.0, log=True),
}

WHEN = {
    "embedding": {
        # One matrix: the share is a width.
        ("tied", "untied"): {"embedding_ratio": FloatDistribution(0.1, 0.5)},
        ("factorized", "factorized_untied"): {
            "embedding_rank": IntDistribution(32, 144, step=8),
            "d_model": IntDistribution(160, 352, step=16),
        },
    },
    "feed_forward": {
        ("swiglu", "geglu", "reglu", "polyglu"): {"glu_expansion": FloatDistribution(1.5, 4.0)},
        ("relu", "relu_squared", "gelu"): {"glu_expansion": FloatDistribution(2.25, 6.0)},
        "moe": {
            "glu_expansion": FloatDistribution(0.33, 1.0),  # of one expert
            ("n_experts", "top_k"): [(4, 1), (4, 2), (8, 1), (8, 2), (16, 2)],
            "shared_experts": [0, 1],
        },
    },
    "optimizer": {"muon": {"muon_learning_rate": FloatDistribution(0.02, 0.16, log=True)}},
}

SAMPLER = {"name": "tpe", "rounds": 10, "cells": 8, "startup": 24}

FIXED = {
    "target_parameters": 10_000_000,
    "embedding_ratio": None,
    "tokens": 5_000_000,
}

BASELINE = {"vocab_size": 16_000, "embedding_ratio": 0.35}
