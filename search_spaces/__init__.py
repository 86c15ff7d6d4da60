"""Search spaces: one file per sweep, plain values.

A space is a Python file with these names, of which only AXES or SEARCH is required:

    AXES      what varies: for each name a list of values (all combinations are tried), or an
              Optuna distribution (drawn at random with the sweep's first seed; a draw without a
              solution at the parameter budget is drawn again, and more SAMPLES keep the earlier
              ones)
    NUISANCE  settings of training, such as the learning rate, that are not the question but may
              decide it: for each name a list of values. Every design is trained at all of them, and
              designs are compared at their best, which is chosen on the first seed and scored on
              the others; see tune_app/statistics/nuisance.py
    FIXED     values that all cells share
    BASELINE  values of the baseline that differ from the project's defaults; needed for an axis
              whose default does not suit the other values, such as vocab_size
    SAMPLES   draws from the distributions, for each combination of the lists
    SCHEDULER settings of the scheduler: reduction_factor, grace_fraction; or "name": "none"
    KILL_RULE settings of the kill rule: unit (ppl, bpb, sigma or off), margin, span in tokens or
              span_fraction of them, minimum_evaluations

A space may be searched in rounds, in place of all combinations of AXES (as `everything` is):

    SEARCH    what a design may have: for each name a list of values, or an Optuna distribution
    WHEN      what only some designs have: setting → value (or a tuple of values) → parameters as in
              SEARCH; conditions may name conditional settings, too
    SAMPLER   settings of the sampler: name (tpe or random), rounds, cells (designs a round), seed,
              startup (designs drawn at random before TPE learns), refusals (proposals a round that
              may be refused)

A round is proposed when the one before has ended, and written to the journal before it is trained.
A proposal depends on the space, the sampler's seed, its number and the scores of earlier rounds,
and on nothing else. One without a solution, or that the sweep has already, is refused at once.

Settings whose values vary together are one axis under a tuple of names, with a row of values each:

    AXES = {("embedding_ratio", "vocab_size"): [(0.25, 11_200), (0.35, 16_000), (0.45, 20_096)]}

Other names are the settings of a cell. `stellux settings` lists all of them, with what they mean.
Counts may be text: "20k", "5M".

Sizes may be pinned, and `embedding_ratio`, `glu_expansion` and `n_heads` left free (None): what is
free absorbs the parameter budget. To compare feed-forwards at equal d_model and n_layers:

    AXES = {"feed_forward": ["swiglu", "relu_squared"]}
    FIXED = {"d_model": 220, "n_layers": 8, "embedding_ratio": None, "glu_expansion": None}

Sizes pinned in FIXED hold for the baseline too. `model/spec.py` explains each value, and
`model/sizing/search.py` the rule that chooses the free sizes.
"""
