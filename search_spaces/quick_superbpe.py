"""`superbpe` in minutes on two CPU cores: 0.95M parameters, a vocabulary of 4,096."""

AXES = {
    ("tokenizer", "tokenizer_options"): [
        ("byte_level_bpe", {}),
        ("superbpe", {"transition": 0.9}),
        ("superbpe", {"transition": 0.8}),
    ],
}

FIXED = {
    "target_parameters": 950_000,
    "n_heads": 2,
    "vocab_size": 4_096,
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

BASELINE = {"tokenizer": "byte_level_bpe"}
