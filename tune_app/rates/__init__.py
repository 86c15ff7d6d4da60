"""The learning-rate range finder: a short run of one cell at a rising rate, and what it suggests.

`suggestion` is pure: from rates and losses to a rate with its reason; a study may call it. `finder`
makes the run, `picture` draws it. Imports the trial, and of the results how plots look.
"""
