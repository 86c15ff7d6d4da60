"""One cell from start to end, without Ray: its data, training and checkpoints.

Imports the plan, the journal's records, faults and stores.
"""
