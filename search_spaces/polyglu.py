"""Does choosing among activations pay? PolyGLU against its ingredients, at equal parameters.

All cells are 224 wide with 11 layers and equal attention, at 10M parameters. The inner width pays
for PolyGLU's routing: 560 instead of 568, and sizes that stay multiples of 16 leave it 0.5 % more
parameters. SwiGLU, GEGLU and ReGLU are what its neurons choose from, besides tanh.
"""

AXES = {
    "feed_forward": ["swiglu", "geglu", "reglu", "polyglu"],
}

FIXED = {
    "target_parameters": 10_000_000,
    "vocab_size": 16_000,
    "d_model": 224,
    "n_layers": 11,
    "glu_expansion": None,
    "tokens": 5_000_000,
}
