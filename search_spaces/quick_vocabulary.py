"""`vocabulary` in minutes on two CPU cores: 0.95M parameters, 80 wide, 12 to 4 layers.

16,384 tokens do not fit into the budget.
"""

AXES = {"vocab_size": [512, 1_024, 2_048, 4_096, 8_192, 16_384]}

FIXED = {
    "target_parameters": 950_000,
    "n_heads": 2,
    "d_model": 80,
    "embedding_ratio": None,
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
