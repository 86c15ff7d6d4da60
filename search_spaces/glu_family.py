"""Which feed-forward, at equal width, depth and attention? Gated ones, and MLPs of two matrices.

In `glu` the expansion is equal, so what an MLP of two matrices saves goes into layers. Here all
cells are 224 wide with 11 layers and equal attention, at 10M parameters, and the inner width makes
room: two matrices get 3/2 of the inner width of three. The ReLU and GELU MLPs are the controls.
"""

AXES = {
    "feed_forward": ["swiglu", "geglu", "reglu", "relu_squared", "relu", "gelu"],
}

FIXED = {
    "target_parameters": 10_000_000,
    "vocab_size": 16_000,
    "d_model": 224,
    "n_layers": 11,
    "glu_expansion": None,
    "tokens": 5_000_000,
}
