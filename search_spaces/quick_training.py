"""How to train `quick`'s baseline: learning rate, batch, the embedding's rate and beta2.

The search that `quick`'s settings come from (docs/transfer.md), at one design: the numbers that
differ are the training's. A coarse grid, so that the best value of each is seen beside its
neighbours. Run it with `--scheduler none`: a higher rate looks worse until it has fallen to zero.
"""

AXES = {
    "learning_rate": [4e-3, 8e-3, 16e-3],
    "batch_size": [2, 4, 8],
    "embedding_rate": [1, 4],
    "betas": [(0.9, 0.95), (0.9, 0.99)],
}

FIXED = {
    "target_parameters": 950_000,
    "n_heads": 2,
    "vocab_size": 4_096,
    "context": 128,
    "tokens": 150_000,
    "warmup_fraction": 0.2,
    "evaluation_bytes": 8_192,
}
