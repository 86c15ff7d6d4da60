"""Feed-forward variants at a fixed embedding share: gated by SiLU, GELU or ReLU, or ReLU².

ReLU² has two matrices where the gated ones have three, so at an equal expansion the parameters go
into more layers instead.
"""

AXES = {
    "feed_forward": ["swiglu", "geglu", "reglu", "relu_squared"],
    "glu_expansion": [2.0, 2.66, 3.0, 4.0],
}

FIXED = {"target_parameters": 10_000_000, "vocab_size": 16_000, "tokens": 5_000_000}
