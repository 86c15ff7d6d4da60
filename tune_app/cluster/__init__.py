"""Support for several machines: capacity, and getting the tokens to each.

May import `stores` and `data`.
"""
