"""Tokenizers: how a text becomes token ids. Imports nothing of the project but `data.errors`."""
