"""Deep and narrow, or wide and shallow, at a fixed embedding share? 36 %, expansion 2.66.

At one vocabulary a share is a width, so the vocabulary varies with the width to hold the share:
22,400 × 160, 16,000 × 224, 11,200 × 320 at 10M parameters. Depth follows (21, 11, 5 layers). What
still differs: how many tokens a text has.
"""

AXES = {
    ("d_model", "vocab_size"): [(160, 22_400), (224, 16_000), (320, 11_200)],
}

FIXED = {"target_parameters": 10_000_000, "embedding_ratio": 0.36, "tokens": 5_000_000}

BASELINE = {"d_model": 224}
