"""The machine that is the head: one that the user has, or one made at Hetzner; its results.

And what to do without it. Imports `head`, `hetzner`, `cluster_yaml` and what lists the market.
"""
