"""How far two scores of the dev sample can be told apart: the standard error of their difference.

Evaluations carry the bits per byte of each part of the sample, which are sets of stretches chosen
by a hash. The differences of two cells part by part give the standard error of the difference over
the whole sample (paired: what makes a stretch hard is hard for both). Where it is larger than what
a rule asks for, the sample is too small for the rule to decide on. Pure.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from tune_app.formats import plain
from tune_app.stopping.rule import Trial

CERTAIN = 2.0
"""Standard errors from which on a difference is not chance."""

FEWEST_PARTS = 8
"""With fewer, a standard error is itself unknown: it is taken as infinite."""


def too_few(trial: Trial) -> str:
    """Why no cell can be stopped for its score on the sample; empty if some can."""
    if trial.stretches >= FEWEST_PARTS:
        return ""
    number = "1 stretch" if trial.stretches == 1 else f"{trial.stretches} stretches"
    return (
        f"the rules stop no cell for its score: the dev sample has {trial.sample_bytes:,} bytes in "
        f"{number} of text, and fewer than {FEWEST_PARTS} say nothing about chance; raise "
        "evaluation_bytes, or give dev more text"
    )


def standard_error(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Of the mean difference of two cells' parts, in their unit.

    Infinite for fewer than FEWEST_PARTS parts; None where an evaluation has none, as those of older
    versions, or another number of them.
    """
    if not one or len(one) != len(other):
        return None
    if len(one) < FEWEST_PARTS:
        return math.inf
    differences = [a - b for a, b in zip(one, other, strict=True)]
    if not all(map(math.isfinite, differences)):
        return math.inf
    return statistics.stdev(differences) / math.sqrt(len(differences))


def in_words(error: float) -> str:
    """A standard error that is too large, as the end of "the standard error of … is"."""
    if math.isinf(error):
        return f"unknown, as the sample has fewer than {FEWEST_PARTS} stretches of text"
    return plain(error, 3)
