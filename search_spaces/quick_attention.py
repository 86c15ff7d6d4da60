"""`attention` in minutes on two CPU cores: 0.95M parameters, 80 wide, 8 layers, 4 heads of 20."""

from search_spaces import quick

AXES = {
    "attention": ["multi_head", "qk_norm"],
    "kv_share": [1.0, 0.25],
    "document_masking": [False, True],
}

FIXED = {
    **quick.FIXED,
    "n_heads": 4,
    "d_model": 80,
    "n_layers": 8,
    "glu_expansion": None,
    "evaluations": 8,
    "evaluation_bytes": 16_384,
}

BASELINE = {"kv_share": 1.0}

SCHEDULER = quick.SCHEDULER
KILL_RULE = quick.KILL_RULE
