"""Where texts come from: one class per kind of corpus.

Imports nothing of the project but `data.documents`, `data.errors` and `data.splits`.
"""
