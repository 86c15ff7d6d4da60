"""The results of a sweep: tables, plots, the report, mirrors in other tools.

Everything is built from the journal alone. May import `journal`, `plan` and `stopping`. Matplotlib,
Arrow and Optuna take a second to import, so `status` does without them.
"""
