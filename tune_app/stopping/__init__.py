"""Whether a cell continues: rules over curves, the referee that asks them, and its journal.

Imports the journal, the plan, statistics and how numbers are read and written; no Ray. A new rule
is one file with its settings and one entry in `all_rules.py`.
"""
