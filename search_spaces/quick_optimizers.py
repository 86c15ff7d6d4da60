"""`optimizers` in minutes on two CPU cores: 0.95M parameters, 80 wide, 8 layers."""

from search_spaces import optimizers, quick

AXES = optimizers.AXES

NUISANCE = {
    "learning_rate_factor": [1.0, 0.5, 2.0],
}

FIXED = {
    **quick.FIXED,
    "d_model": 80,
    "n_layers": 8,
    "evaluations": 8,
    "evaluation_bytes": 16_384,
}

SCHEDULER = quick.SCHEDULER
KILL_RULE = quick.KILL_RULE
