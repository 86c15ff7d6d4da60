"""The truth of a sweep in one SQLite file: records in, records out.

Imports the plan, and `model.parts` for the metrics that parts of the network report.
"""
