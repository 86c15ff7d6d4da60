"""A sweep from its command line to its results: prepare, start or continue, run, write.

Imports everything of `tune_app` but `study` and `cloud`.
"""
