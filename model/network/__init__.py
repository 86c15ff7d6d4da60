"""The network: embeddings, blocks, loss, and the role of each of its parameters.

Imports `model.spec`, `model.parts`, `model.roles` and `model.mup`, and of `model` nothing else.
"""
