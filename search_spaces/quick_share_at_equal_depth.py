"""`share_at_equal_depth` in minutes on two CPU cores: 0.95M parameters, a vocabulary of 4,096.

What still differs: the width (56, 80, 104), which is the share at one vocabulary; the expansion,
which makes room (8 to 11.4, 2.7 to 4.1, 0.8 to 1.5).
"""

AXES = {
    "embedding_ratio": [0.25, 0.35, 0.45],
    "n_layers": [6, 8],
}

FIXED = {
    "target_parameters": 950_000,
    "n_heads": 2,
    "vocab_size": 4_096,
    "glu_expansion": None,
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

BASELINE = {"n_layers": 8}
