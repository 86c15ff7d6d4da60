"""Continues texts with a trained network, token by token. Imports `model.network`."""
