"""`factorized` in minutes on two CPU cores: 0.95M parameters, a vocabulary of 4,096, 80 wide."""

AXES = {
    "embedding_ratio": [0.15, 0.25, 0.35],
    "glu_expansion": [2.0, 2.66, 4.0],
}

FIXED = {
    "target_parameters": 950_000,
    "n_heads": 2,
    "vocab_size": 4_096,
    "embedding": "factorized",
    "d_model": 80,
    "context": 128,
    "tokens": 150_000,
    "batch_size": 4,
    "warmup_fraction": 0.2,
    "betas": (0.9, 0.99),
    "evaluation_bytes": 8_192,
}

# As in `quick`.
SCHEDULER = {"reduction_factor": 2, "grace_fraction": 0.25}
KILL_RULE = {"span_fraction": 0.2}

BASELINE = {"embedding": "tied"}
