"""Tokens within words, or across them? Byte-level BPE against SuperBPE at one vocabulary.

All cells are the same model; only the text that a token holds differs. They train on equal text,
and bits per byte compares them. What still differs: with SuperBPE there are fewer tokens, and so
fewer steps, and a window of `context` tokens holds more text. At 80 % the second stage begins
earlier, and more of the vocabulary is superwords.
"""

AXES = {
    ("tokenizer", "tokenizer_options"): [
        ("byte_level_bpe", {}),
        ("superbpe", {"transition": 0.9}),
        ("superbpe", {"transition": 0.8}),
    ],
}

FIXED = {
    "target_parameters": 10_000_000,
    "vocab_size": 16_000,
    "tokens": 5_000_000,
}

BASELINE = {"tokenizer": "byte_level_bpe"}
