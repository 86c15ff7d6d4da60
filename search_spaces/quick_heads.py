"""`heads` in minutes on two CPU cores: 0.95M parameters, a vocabulary of 4,096, 80 wide."""

AXES = {
    ("embedding", "embedding_ratio"): [
        ("tied", 0.35),
        ("factorized", 0.35),
        ("factorized_untied", 0.35),
        ("untied", None),
    ],
}

FIXED = {
    "target_parameters": 950_000,
    "n_heads": 2,
    "vocab_size": 4_096,
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
