"""`heads` in minutes on two CPU cores: 0.95M parameters, a vocabulary of 4,096, 80 wide."""

from search_spaces import quick

AXES = {
    ("embedding", "embedding_ratio"): [
        ("tied", 0.35),
        ("factorized", 0.35),
        ("factorized_untied", 0.35),
        ("untied", None),
    ],
}

FIXED = {
    **quick.FIXED,
    "d_model": 80,
}

SCHEDULER = quick.SCHEDULER
KILL_RULE = quick.KILL_RULE
