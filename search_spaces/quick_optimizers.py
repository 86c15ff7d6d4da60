"""`optimizers` in minutes on two CPU cores: 0.95M parameters, 80 wide, 8 layers."""

AXES = {
    "optimizer": ["adamw", "muon"],
}

NUISANCE = {
    "learning_rate_factor": [1.0, 0.5, 2.0],
}

FIXED = {
    "target_parameters": 950_000,
    "n_heads": 2,
    "vocab_size": 4_096,
    "d_model": 80,
    "n_layers": 8,
    "context": 128,
    "tokens": 150_000,
    "batch_size": 4,
    "warmup_fraction": 0.2,
    "betas": (0.9, 0.99),
    "evaluations": 8,
    "evaluation_bytes": 16_384,
}

# As in `quick`.
SCHEDULER = {"reduction_factor": 2, "grace_fraction": 0.25}
KILL_RULE = {"span_fraction": 0.2}
