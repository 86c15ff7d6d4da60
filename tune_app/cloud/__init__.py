"""Rented GPU hosts: from the HTTP API of Vast.ai to a daemon that alone may rent."""
