"""Goes on with an exported model: trains it on conversations, and writes an export again.

Imports the data, the model, checkpoints of trials, exports and how they are written.
"""
