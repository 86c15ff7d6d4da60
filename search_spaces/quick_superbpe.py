"""`superbpe` in minutes on two CPU cores: 0.95M parameters, a vocabulary of 4,096."""

from search_spaces import quick

AXES = {
    ("tokenizer", "tokenizer_options"): [
        ("byte_level_bpe", {}),
        ("superbpe", {"transition": 0.9}),
        ("superbpe", {"transition": 0.8}),
    ],
}

FIXED = quick.FIXED

SCHEDULER = quick.SCHEDULER
KILL_RULE = quick.KILL_RULE

BASELINE = {"tokenizer": "byte_level_bpe"}
