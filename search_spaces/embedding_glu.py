"""Embedding share and SwiGLU expansion at 10M parameters: the main question."""

AXES = {
    "embedding_ratio": [0.25, 0.35, 0.45],
    "glu_expansion": [2.0, 2.66, 3.0, 4.0],
}

FIXED = {"target_parameters": 10_000_000, "vocab_size": 16_000, "tokens": 5_000_000}
