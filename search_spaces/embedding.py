"""How the embedding is spent: its share, and one matrix for both ends or two.

An untied head doubles the embedding's parameters, so at an equal share its width is half as large.
"""

AXES = {
    "embedding_ratio": [0.25, 0.35, 0.45],
    "embedding": ["tied", "untied"],
}

FIXED = {"target_parameters": 10_000_000, "vocab_size": 16_000, "tokens": 5_000_000}
