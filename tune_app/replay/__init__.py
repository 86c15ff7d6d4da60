"""Runs stopping rules over recorded curves, without training: a sweep's own rules, or others.

Imports the stopping rules, the journal and the plan; no Ray.
"""
