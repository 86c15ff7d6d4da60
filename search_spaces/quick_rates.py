"""Three designs of `quick` at half, once and twice the learning rate each: is the rate the judge?

The designs are compared at their own best rate. With two seeds, as in `--seeds 0,1`, it is chosen
on one seed and scored on the other, so that a lucky rate is no advantage.
"""

AXES = {"embedding_ratio": [0.25, 0.35, 0.45]}

NUISANCE = {"learning_rate_factor": [0.5, 1, 2]}

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
