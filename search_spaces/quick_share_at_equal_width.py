"""`share_at_equal_width` in minutes on two CPU cores: 0.95M parameters, 80 wide, expansion 2.66.

What still differs: the vocabulary (2,944, 4,096, 5,344), and with it how many tokens a text has;
the depth (10, 8, 7 layers).
"""

from search_spaces import quick

AXES = {
    ("embedding_ratio", "vocab_size"): [(0.25, 2_944), (0.35, 4_096), (0.45, 5_344)],
}

FIXED = {
    **quick.fixed_but_vocabulary,
    "d_model": 80,
}

SCHEDULER = quick.SCHEDULER
KILL_RULE = quick.KILL_RULE

BASELINE = {"vocab_size": 4_096}
