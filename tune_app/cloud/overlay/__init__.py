"""The way between the head and workers behind NAT: OpenSSH forwards on loopback addresses.

Imports `secrets` and `market`.
"""
