"""`share_at_equal_depth` in minutes on two CPU cores: 0.95M parameters, a vocabulary of 4,096.

What still differs: the width (56, 80, 104), which is the share at one vocabulary; the expansion,
which makes room (8 to 11.4, 2.7 to 4.1, 0.8 to 1.5).
"""

from search_spaces import quick

AXES = {
    "embedding_ratio": [0.25, 0.35, 0.45],
    "n_layers": [6, 8],
}

FIXED = {
    **quick.FIXED,
    "glu_expansion": None,
}

SCHEDULER = quick.SCHEDULER
KILL_RULE = quick.KILL_RULE

BASELINE = {"n_layers": 8}
