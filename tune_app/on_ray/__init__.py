"""Runs the cells of a sweep on Ray Tune.

The only folder outside `cloud` that imports Ray.
"""
