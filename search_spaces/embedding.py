"""Embedding share, with a tied or an untied lm_head.

An untied lm_head doubles the embedding's parameters, so at an equal share d_model is half as large.
"""

AXES = {
    "embedding_ratio": [0.25, 0.35, 0.45],
    "embedding": ["tied", "untied"],
}

FIXED = {"target_parameters": 10_000_000, "vocab_size": 16_000, "tokens": 5_000_000}
