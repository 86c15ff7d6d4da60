"""A mixture of experts against one SwiGLU, at equal parameters in all or at equal ones for a token.

All cells are 224 wide with 11 layers and equal attention, and what they count makes 10M parameters.
With `budget` total, 8 experts share what the baseline's feed-forward has, and a token uses a
quarter of it or less: fewer FLOPs. With `active`, a token uses as many parameters as in the
baseline, and there are up to four times as many in the feed-forward: equal FLOPs, more memory.
"""

AXES = {
    ("feed_forward", "n_experts", "top_k", "shared_experts", "budget"): [
        ("swiglu", None, None, None, "total"),
        ("moe", 8, 2, 0, "total"),
        ("moe", 8, 1, 1, "total"),
        ("moe", 8, 2, 0, "active"),
        ("moe", 8, 1, 1, "active"),
    ],
}

FIXED = {
    "target_parameters": 10_000_000,
    "vocab_size": 16_000,
    "d_model": 224,
    "n_layers": 11,
    "glu_expansion": None,
    "tokens": 5_000_000,
}
