"""Decisions over recorded curves, without training: what the rules said, or others would have said.

Imports the stopping rules, the journal and the plan; no Ray.
"""
