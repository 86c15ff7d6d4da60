"""Three designs of `quick` at half, once and twice the learning rate each: is the rate the judge?

The designs are compared at their own best rate. With two seeds, as in `--seeds 0,1`, it is chosen
on one seed and scored on the other, so that a lucky rate is no advantage.
"""

from search_spaces import quick

AXES = {"embedding_ratio": [0.25, 0.35, 0.45]}

NUISANCE = {"learning_rate_factor": [0.5, 1, 2]}

FIXED = quick.FIXED

SCHEDULER = quick.SCHEDULER
KILL_RULE = quick.KILL_RULE
