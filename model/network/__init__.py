"""The network: embeddings, blocks, loss. Imports `model.spec`, `model.parts`, `model.mup`."""
