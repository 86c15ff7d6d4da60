"""Search in rounds: a sampler proposes cells from a conditional space, by the rounds before.

A proposal is a function of the space, the sampler's seed, its own number and what earlier rounds
scored. Which cell ended first, how many were trained at once, and when a sweep was killed do not
matter. Imports what `tune_app.plan` may, and Optuna where it proposes.
"""
