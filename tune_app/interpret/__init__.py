"""Looking inside a trained model: what its neurons route to, and the spectra of its embeddings.

`subject` finds a model, `routing` and `spectra` measure it, `table` and `picture` show what they
found. Imports the model, the trial, and of the results and the terminal how they look; the command
line also opens sweeps by name, through `api`.
"""
