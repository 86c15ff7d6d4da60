"""Tokenizers: their identity (`spec`, light), and how each kind is trained and loaded.

Imports nothing of the project but `data.documents`, `data.errors`, `data.progress` and
`data.suggestions`.
"""
