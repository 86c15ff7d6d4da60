"""What a `cluster.yaml` says, checked and typed, and the copy of it that the head gets.

Imports the settings of `hetzner`, `node`, `overlay` and `renting`, and `open_market`.
"""
