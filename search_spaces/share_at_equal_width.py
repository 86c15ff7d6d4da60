"""Does the embedding share matter at an equal width? The vocabulary carries it; depth makes room.

In `embedding_glu` a larger share is a wider and shallower model. Here all cells are 224 wide, with
expansion 2.66, at 10M parameters. What still differs: the vocabulary (11,200, 16,000, 20,096), and
with it how many tokens a text has; the depth (12, 11, 9 layers) and attention's width (256, 208,
240), because what the embedding takes is taken from the layers. `share_at_equal_shape` holds these
as well.
"""

AXES = {
    ("embedding_ratio", "vocab_size"): [(0.25, 11_200), (0.35, 16_000), (0.45, 20_096)],
}

FIXED = {"target_parameters": 10_000_000, "d_model": 224, "tokens": 5_000_000}
