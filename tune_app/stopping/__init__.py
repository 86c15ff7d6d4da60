"""Whether a cell goes on: pure rules over curves, and the referee that applies them.

Imports the journal and the plan; no Ray.
"""
