"""`attention` in minutes on two CPU cores: 0.95M parameters, 80 wide, 8 layers, 4 heads of 20."""

AXES = {
    "attention": ["multi_head", "qk_norm"],
    "kv_share": [1.0, 0.25],
    "document_masking": [False, True],
}

FIXED = {
    "target_parameters": 950_000,
    "n_heads": 4,
    "vocab_size": 4_096,
    "d_model": 80,
    "n_layers": 8,
    "glu_expansion": None,
    "context": 128,
    "tokens": 150_000,
    "batch_size": 4,
    "warmup_fraction": 0.2,
    "betas": (0.9, 0.99),
    "evaluations": 8,
    "evaluation_bytes": 16_384,
}

BASELINE = {"kv_share": 1.0}

# As in `quick`.
SCHEDULER = {"reduction_factor": 2, "grace_fraction": 0.25}
KILL_RULE = {"span_fraction": 0.2}
