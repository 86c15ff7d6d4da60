"""Do fewer key-value heads, normalised queries and keys, or masked documents pay? At equal shape.

All cells are 224 wide with 11 layers and queries of one width, at 10M parameters: what a quarter of
the key-value heads saves is spent on the inner width (568 → 680). The baseline has as many
key-value heads as query heads, without norms and without masks. Cells with masked documents are
scored with them: each token with the context of its own document alone.
"""

AXES = {
    "attention": ["multi_head", "qk_norm"],
    "kv_share": [1.0, 0.25],
    "document_masking": [False, True],
}

FIXED = {
    "target_parameters": 10_000_000,
    "vocab_size": 16_000,
    "d_model": 224,
    "n_layers": 11,
    "glu_expansion": None,
    "tokens": 5_000_000,
}

BASELINE = {"kv_share": 1.0}
