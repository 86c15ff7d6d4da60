"""Should the lm_head be the embedding, or have parameters of its own? At an equal width, 224.

Tied, factorized and factorized with a head of its own have one share, 35 %, one width and one
depth, at 10M parameters: the head's own pair halves the rank of both. An untied head of full rank
takes the share to 72 %, and what it costs is taken from the layers: 5 of 11 are left.
"""

AXES = {
    ("embedding", "embedding_ratio"): [
        ("tied", 0.35),
        ("factorized", 0.35),
        ("factorized_untied", 0.35),
        ("untied", None),
    ],
}

FIXED = {
    "target_parameters": 10_000_000,
    "vocab_size": 16_000,
    "d_model": 224,
    "tokens": 5_000_000,
}
