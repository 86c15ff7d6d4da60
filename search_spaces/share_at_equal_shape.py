"""Does the embedding share matter at an equal width and depth? The vocabulary carries it.

All cells are 224 wide with 11 layers and equal attention, at 10M parameters; the feed-forward's
inner width makes room. What still differs: the vocabulary (11,200, 16,000, 20,096), and with it how
many tokens a text has; the expansion (3.2, 2.6, 2.0).
"""

AXES = {
    ("embedding_ratio", "vocab_size"): [(0.25, 11_200), (0.35, 16_000), (0.45, 20_096)],
}

FIXED = {
    "target_parameters": 10_000_000,
    "d_model": 224,
    "n_layers": 11,
    "glu_expansion": None,
    "tokens": 5_000_000,
}
