"""Schedulers over recorded curves, without training: `python -m tune_app.replay`.

Imports the stopping rules, the journal and the plan; no Ray. A new scheduler to compare is an entry
in `schedulers.py`.
"""
