"""Sweeps from Python, for notebooks and scripts: plan, run, read results, load a trained model.

What users import is listed in `tune_app/__init__.py`. Nothing here prints, except the progress of a
sweep that runs, and mistakes are ValueErrors with the sentences of the command line. Imports
`sweep` and what it imports, but not `on_ray`.
"""
