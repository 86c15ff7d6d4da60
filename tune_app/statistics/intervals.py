"""Quantiles that say how well a standard deviation is known.

SciPy is imported when it is needed: that takes longer than most commands.
"""

from __future__ import annotations

import math

TWO_SIGMA = 0.5 * (1 + math.erf(math.sqrt(2)))
"""Probability that a normal value is less than two standard deviations above its mean: 0.977."""


def deviation_interval(
    sigma: float, degrees_of_freedom: int, *, level: float = 0.95
) -> tuple[float, float]:
    """Confidence interval of a standard deviation that was estimated from normal values.

    From the chi-square distribution of their sum of squares.
    """
    from scipy.special import chdtri  # noqa: PLC0415

    assert degrees_of_freedom >= 1 and 0 < level < 1
    upper, lower = (
        float(chdtri(degrees_of_freedom, tail)) for tail in ((1 - level) / 2, (1 + level) / 2)
    )
    low, high = (sigma * math.sqrt(degrees_of_freedom / square) for square in (upper, lower))
    return low, high


def student_quantile(degrees_of_freedom: int, probability: float = TWO_SIGMA) -> float:
    """Quantile of Student's t: 2 for many degrees of freedom, 2.4 for 8, 4.5 for 2, 14 for 1."""
    from scipy.special import stdtrit  # noqa: PLC0415

    assert degrees_of_freedom >= 1
    return float(stdtrit(degrees_of_freedom, probability))
