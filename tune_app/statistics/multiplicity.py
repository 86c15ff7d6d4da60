"""Corrections for having looked at many differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

_NODES = 128


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values that together err with the probability that each says (Holm, 1979).

    The smallest is multiplied by their number, the next by one less, and so on; none becomes less
    than a smaller one's.
    """
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = highest
    return adjusted


def dunnett_tail(t: float, *, others: int, degrees_of_freedom: int) -> float:
    """Probability that one design seems to lead some of `others` equal ones by t standard errors.

    One-sided: the upper tail of the largest of so many Student's t, each against the same design,
    all with equally many seeds (Dunnett, 1955). Integrated over that design's own luck and over the
    estimated deviation, to about four digits.
    """
    import numpy as np  # noqa: PLC0415
    from scipy.special import ndtr  # noqa: PLC0415

    assert others >= 1 and degrees_of_freedom >= 1
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    luck, luck_weights, scale, scale_weights = _grid(degrees_of_freedom)
    behind = ndtr(math.sqrt(2) * t * scale[:, None] + luck[None, :])
    # 1 - x^k without losing the digits of a small tail.
    tail = -np.expm1(others * np.log(np.maximum(behind, 1e-300)))
    return float(min(1.0, max(0.0, scale_weights @ tail @ luck_weights)))


@cache
def dunnett_quantile(tail: float, *, others: int, degrees_of_freedom: int) -> float:
    """The t of `dunnett_tail` whose tail it is: 2.23 for 3 others, 16 degrees of freedom, 0.05."""
    from scipy.optimize import brentq  # noqa: PLC0415

    assert 0 < tail < 1

    def beyond(t: float) -> float:
        return dunnett_tail(t, others=others, degrees_of_freedom=degrees_of_freedom) - tail

    high = 4.0
    while beyond(high) > 0:
        high *= 2
    return float(brentq(beyond, -10.0, high, xtol=1e-9))


@cache
def _grid(degrees_of_freedom: int) -> tuple[Any, Any, Any, Any]:
    """Nodes and weights of a standard normal, and of an estimated deviation over the true one."""
    import numpy as np  # noqa: PLC0415
    from scipy.special import chdtri  # noqa: PLC0415

    luck, luck_weights = np.polynomial.hermite_e.hermegauss(_NODES)
    place, place_weights = np.polynomial.legendre.leggauss(_NODES)
    # In the cube of the probability, nodes are dense where the deviation came out far too low.
    share = (place + 1) / 2
    scale = np.sqrt(chdtri(degrees_of_freedom, 1 - share**3) / degrees_of_freedom)
    return luck, luck_weights / luck_weights.sum(), scale, place_weights / 2 * 3 * share**2
