"""`share_at_equal_width` in minutes on two CPU cores: 0.95M parameters, 80 wide, expansion 2.66.

What still differs: the vocabulary (2,944, 4,096, 5,344), and with it how many tokens a text has;
the depth (10, 8, 7 layers).
"""

AXES = {
    ("embedding_ratio", "vocab_size"): [(0.25, 2_944), (0.35, 4_096), (0.45, 5_344)],
}

FIXED = {
    "target_parameters": 950_000,
    "n_heads": 2,
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

BASELINE = {"vocab_size": 4_096}
