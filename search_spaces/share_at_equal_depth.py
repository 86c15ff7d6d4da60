"""Does the embedding share matter at an equal depth and vocabulary? The feed-forward makes room.

At one vocabulary a share is a width, so the width still differs (160, 224, 280 to 288), and at 10M
parameters the expansion, which makes room, differs much: 7.5 to 10.8 at 25 %, 0.9 to 1.4 at 45 %.
Compare within a depth. A share that leads at both depths does not lead by its depth alone.
"""

AXES = {
    "embedding_ratio": [0.25, 0.35, 0.45],
    "n_layers": [8, 11],
}

FIXED = {
    "target_parameters": 10_000_000,
    "vocab_size": 16_000,
    "glu_expansion": None,
    "tokens": 5_000_000,
}

BASELINE = {"n_layers": 11}
