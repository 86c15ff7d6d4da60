"""From a search space to solved cells: values in, rows out.

Imports `model` (specs, settings, sizing), the tokenizers' specs and `search_spaces`.
"""
