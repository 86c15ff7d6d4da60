"""The main question in minutes on two CPU cores: the twelve cells at a tenth of the scale.

The axes of `embedding_glu` with 0.95M parameters (where all twelve cells are well shaped), a
vocab_size of 4,096 and 150k tokens. One seed shows which cell leads, not which one is best.
"""

AXES = {
    "embedding_ratio": [0.25, 0.35, 0.45],
    "glu_expansion": [2.0, 2.66, 3.0, 4.0],
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

# First rung at 25 %: ranks before that say little about the final ones.
SCHEDULER = {"reduction_factor": 2, "grace_fraction": 0.25}

# Like 1M of 5M tokens, scaled to this length.
KILL_RULE = {"span_fraction": 0.2}

# For spaces whose axis is the vocabulary.
fixed_but_vocabulary = {name: value for name, value in FIXED.items() if name != "vocab_size"}
