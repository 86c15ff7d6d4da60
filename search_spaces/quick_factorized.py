"""`factorized` in minutes on two CPU cores: 0.95M parameters, a vocabulary of 4,096, 80 wide."""

from search_spaces import quick

AXES = {
    "embedding_ratio": [0.15, 0.25, 0.35],
    "glu_expansion": [2.0, 2.66, 4.0],
}

FIXED = {
    **quick.FIXED,
    "embedding": "factorized",
    "d_model": 80,
}

SCHEDULER = quick.SCHEDULER
KILL_RULE = quick.KILL_RULE

BASELINE = {"embedding": "tied"}
