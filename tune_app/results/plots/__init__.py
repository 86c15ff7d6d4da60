"""The plots of a sweep: curves, and bits per byte by each axis and by cost.

Figures are drawn from the journal's records alone, and work with no finished cell, a single cell,
NaN and infinite values. They use Matplotlib's objects: no window, no global state.
"""
