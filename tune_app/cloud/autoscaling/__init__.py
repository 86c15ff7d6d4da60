"""What Ray's autoscaler asks of the node provider: nodes, launches, commands, teardown.

Imports Ray, and of the cloud all but `provider`, `sweep_service`, `vast` and `hetzner`.
"""
