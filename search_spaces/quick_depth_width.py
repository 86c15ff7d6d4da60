"""`depth_width` in minutes on two CPU cores: 0.95M parameters, an embedding share of 35 %.

What still differs: the vocabulary (5,824 × 56, 4,096 × 80, 2,944 × 112), and with it how many
tokens a text has. Depth follows (16, 8, 4 layers).
"""

AXES = {
    ("d_model", "vocab_size"): [(56, 5_824), (80, 4_096), (112, 2_944)],
}

FIXED = {
    "target_parameters": 950_000,
    "n_heads": 2,
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

BASELINE = {"d_model": 80, "vocab_size": 4_096}
