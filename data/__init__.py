"""From a corpus to packed tokens and batches. Knows nothing of models, Ray or sweeps."""
