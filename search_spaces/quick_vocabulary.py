"""`vocabulary` in minutes on two CPU cores: 0.95M parameters, 80 wide, 12 to 4 layers.

16,384 tokens do not fit into the budget.
"""

from search_spaces import quick

AXES = {"vocab_size": [512, 1_024, 2_048, 4_096, 8_192, 16_384]}

FIXED = {
    **quick.fixed_but_vocabulary,
    "d_model": 80,
    "embedding_ratio": None,
}

SCHEDULER = quick.SCHEDULER
KILL_RULE = quick.KILL_RULE

BASELINE = {"vocab_size": 4_096}
