"""Learning-rate schedules: pure functions of the share of tokens already trained.

A schedule maps progress in [0, 1] to a factor in [0, 1] of the learning rate. A variant is a
function and a line in SCHEDULES.
"""

from __future__ import annotations

import math
from collections.abc import Callable

DECAY_FRACTION = 0.2
"""Share of the tokens over which warm-up–stable–decay falls to zero."""
COOL_DOWNS = {"wsd": 1 - DECAY_FRACTION}
"""By schedule, the share of the tokens up to which the rate is constant after its warm-up. Others
are never constant."""


def cosine(progress: float, *, warmup_fraction: float) -> float:
    """Linear warm-up, then half a cosine down to zero (Loshchilov and Hutter, 2017)."""
    if progress < warmup_fraction:
        return progress / warmup_fraction
    return (1 + math.cos(math.pi * _share(progress, warmup_fraction, 1.0))) / 2


def warmup_stable_decay(progress: float, *, warmup_fraction: float) -> float:
    """Linear warm-up, the full rate, then linearly to zero (Hu et al., 2024, "MiniCPM")."""
    if progress < warmup_fraction:
        return progress / warmup_fraction
    return 1 - _share(progress, max(warmup_fraction, 1 - DECAY_FRACTION), 1.0)


def _share(progress: float, start: float, end: float) -> float:
    """How far progress is on its way from start to end, in [0, 1]."""
    if progress <= start:
        return 0.0
    return min(1.0, (progress - start) / (end - start))


SCHEDULES: dict[str, Callable[..., float]] = {
    "cosine": cosine,
    "wsd": warmup_stable_decay,
}
