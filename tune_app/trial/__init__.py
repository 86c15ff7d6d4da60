"""One cell from start to end, without Ray: its data, training and checkpoints.

Imports the data, the model, the plan, the journal's records, stopping (divergence) and stores.
"""
