"""A sweep from its command line to its results: prepare, start or continue, run, write.

May import everything in `tune_app` except `api`, `cloud` and `replay`.
"""
