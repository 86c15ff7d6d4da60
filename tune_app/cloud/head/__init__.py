"""What `ray up` does to the machine that becomes the head, and what can be asked of it by SSH.

Imports everything below: `daemon`, `node`, `overlay`, `renting`, `cluster_yaml` and their like.
"""
