"""What trained models are tried on: classification tasks, text of other domains, overlaps.

Imports of `data` the sources, the documents and the form of packed text. Knows no model.
"""
