"""`moe` in minutes on two CPU cores: 0.95M parameters, 80 wide, 8 layers."""

AXES = {
    ("feed_forward", "n_experts", "top_k", "shared_experts", "budget"): [
        ("swiglu", None, None, None, "total"),
        ("moe", 8, 2, 0, "total"),
        ("moe", 8, 1, 1, "total"),
        ("moe", 8, 2, 0, "active"),
        ("moe", 8, 1, 1, "active"),
    ],
}

FIXED = {
    "target_parameters": 950_000,
    "n_heads": 2,
    "vocab_size": 4_096,
    "d_model": 80,
    "n_layers": 8,
    "glu_expansion": None,
    "context": 128,
    "tokens": 150_000,
    "batch_size": 4,
    "warmup_fraction": 0.2,
    "betas": (0.9, 0.99),
    "evaluation_bytes": 32_768,
}

# As in `quick`.
SCHEDULER = {"reduction_factor": 2, "grace_fraction": 0.25}
KILL_RULE = {"span_fraction": 0.2}
