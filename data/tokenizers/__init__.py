"""Tokenizers: what one is (`spec`, light) and, for each kind, how it is trained and loaded.

Imports nothing of the project but `data.documents` and `data.errors`.
"""
