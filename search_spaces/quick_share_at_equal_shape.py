"""`share_at_equal_shape` in minutes on two CPU cores: 0.95M parameters, 80 wide, 8 layers.

What still differs: the vocabulary (2,944, 4,096, 5,344), and with it how many tokens a text has;
the expansion (3.3, 2.7, 2.05).
"""

from search_spaces import quick

AXES = {
    ("embedding_ratio", "vocab_size"): [(0.25, 2_944), (0.35, 4_096), (0.45, 5_344)],
}

FIXED = {
    **quick.fixed_but_vocabulary,
    "d_model": 80,
    "n_layers": 8,
    "glu_expansion": None,
}

SCHEDULER = quick.SCHEDULER
KILL_RULE = quick.KILL_RULE

BASELINE = {"vocab_size": 4_096}
