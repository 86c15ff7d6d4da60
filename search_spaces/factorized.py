"""Does the embedding share matter at an equal width? A factorized embedding carries it by its rank.

With one matrix and one vocabulary a share is a width. Two matrices, vocabulary × rank and rank ×
width, set them apart: here all cells are 224 wide, at 10M parameters and one vocabulary, and the
rank is 88 to 96, 152 to 160 or 216. Depth makes room (8 to 17 layers). The baseline, with one
matrix, is as wide; what factorizing itself costs is its distance from the cell of 35 % × 2.66.
"""

AXES = {
    "embedding_ratio": [0.15, 0.25, 0.35],
    "glu_expansion": [2.0, 2.66, 4.0],
}

FIXED = {
    "target_parameters": 10_000_000,
    "vocab_size": 16_000,
    "embedding": "factorized",
    "d_model": 224,
    "tokens": 5_000_000,
}

BASELINE = {"embedding": "tied"}
