"""`everything` in minutes on two CPU cores: 0.95M parameters, a vocabulary of 1,024 to 4,096.

Three rounds of four designs show that the search works, not which design is best.
"""

from optuna.distributions import FloatDistribution, IntDistribution

from search_spaces import quick

SEARCH = {
    "embedding": ["tied", "untied", "factorized"],
    "vocab_size": [1_024, 2_048, 4_096],
    "feed_forward": ["swiglu", "geglu", "reglu", "relu", "relu_squared", "gelu", "polyglu", "moe"],
    "attention": ["multi_head", "qk_norm"],
    "n_heads": [2, 4],
    "kv_share": [1.0, 0.5],
    "optimizer": ["adamw", "muon"],
    "learning_rate_factor": FloatDistribution(0.5, 2.0, log=True),
}

WHEN = {
    "embedding": {
        ("tied", "untied"): {"embedding_ratio": FloatDistribution(0.1, 0.45)},
        "factorized": {
            "embedding_rank": IntDistribution(16, 56, step=8),
            "d_model": IntDistribution(64, 112, step=8),
        },
    },
    "feed_forward": {
        ("swiglu", "geglu", "reglu", "polyglu"): {"glu_expansion": FloatDistribution(1.5, 4.0)},
        ("relu", "relu_squared", "gelu"): {"glu_expansion": FloatDistribution(2.25, 6.0)},
        "moe": {
            "glu_expansion": FloatDistribution(0.5, 1.0),
            ("n_experts", "top_k"): [(4, 1), (4, 2), (8, 1), (8, 2)],
            "shared_experts": [0, 1],
        },
    },
    "optimizer": {"muon": {"muon_learning_rate": FloatDistribution(0.02, 0.16, log=True)}},
}

SAMPLER = {"name": "tpe", "rounds": 3, "cells": 4, "startup": 4}

FIXED = {
    **quick.fixed_but_vocabulary,
    "embedding_ratio": None,
    "evaluations": 8,
    "evaluation_bytes": 16_384,
}

BASELINE = {"vocab_size": 4_096, "embedding_ratio": 0.35}

SCHEDULER = quick.SCHEDULER
KILL_RULE = quick.KILL_RULE
