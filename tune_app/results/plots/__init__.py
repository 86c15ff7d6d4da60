"""The plots of a sweep: curves, bits per byte against each axis, and against what it cost.

Every figure is drawn from the journal's records alone and stands whatever it has: no cell finished
yet, one cell, NaN and infinite values. Matplotlib is used through its objects: no window, no
global state.
"""
