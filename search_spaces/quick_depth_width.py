"""`depth_width` in minutes on two CPU cores: 0.95M parameters, an embedding share of 35 %.

What still differs: the vocabulary (5,824 × 56, 4,096 × 80, 2,944 × 112), and with it how many
tokens a text has. Depth follows (16, 8, 4 layers).
"""

from search_spaces import quick

AXES = {
    ("d_model", "vocab_size"): [(56, 5_824), (80, 4_096), (112, 2_944)],
}

FIXED = quick.fixed_but_vocabulary

SCHEDULER = quick.SCHEDULER
KILL_RULE = quick.KILL_RULE

BASELINE = {"d_model": 80, "vocab_size": 4_096}
