"""`moe` in minutes on two CPU cores: 0.95M parameters, 80 wide, 8 layers."""

from search_spaces import quick

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
    **quick.FIXED,
    "d_model": 80,
    "n_layers": 8,
    "glu_expansion": None,
    "evaluation_bytes": 32_768,
}

SCHEDULER = quick.SCHEDULER
KILL_RULE = quick.KILL_RULE
