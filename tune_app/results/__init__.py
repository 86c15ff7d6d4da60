"""The results of a sweep: tables, plots, the report, mirrors in other tools.

Everything is built from the journal alone, and from the noise of such sweeps that comes with the
project. May import `journal`, `plan`, `stopping` and `statistics`. Matplotlib, Arrow and Optuna
take a second to import, so `status` does without them.
"""
