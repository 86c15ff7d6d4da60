"""What to try: one sweep a file, plain values.

A space is a Python file with these names, of which only AXES is required:

    AXES      what is varied: a list of values a name (all combinations are tried), or an Optuna
              distribution (drawn `samples` times with the sweep's first seed)
    FIXED     values that all cells share
    BASELINE  the values of the baseline, where they differ from the project's own
    SAMPLES   how many cells are drawn where an axis is a distribution
    SCHEDULER, KILL_RULE   settings of the sweep that fit this space

The names of values are those of a cell: see `python -m tune_app.trial --help`.

Sizes may be pinned, and `embedding_ratio`, `glu_expansion` and `n_heads` left free (None): what is
free absorbs the parameter budget. To compare feed-forwards at equal width and depth:

    AXES = {"feed_forward": ["swiglu", "relu_squared"]}
    FIXED = {"d_model": 220, "n_layers": 8, "embedding_ratio": None, "glu_expansion": None}

What is pinned in FIXED holds for the baseline too. `model/spec.py` says what each value means and
`model/sizing/search.py` by what rule the free sizes are chosen.
"""
