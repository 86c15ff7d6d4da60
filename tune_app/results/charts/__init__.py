"""The charts of the report that are worth hovering, as plain values for plotly.js.

Each is a function of the results; none draws or writes. May import what `results` may import.
"""
