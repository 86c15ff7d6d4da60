"""What a trained cell is worth: its evaluation, its record in numbers, its export.

Imports `data`, `model`, `tune_app.portable`, and of the sweep what reads it: `plan`, `journal`,
`trial`, `results`, `sweep`. Trains nothing.
"""
