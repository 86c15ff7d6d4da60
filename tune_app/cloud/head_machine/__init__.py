"""The machine that is the head: one that the user has, or one made at Hetzner; its results.

Imports `head`, `hetzner` and `cluster_yaml`.
"""
