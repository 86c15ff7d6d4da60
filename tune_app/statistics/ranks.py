"""How far two orders agree."""

from __future__ import annotations

import math
from collections.abc import Sequence


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's rank correlation of paired numbers: 1 for the same order, -1 for the reverse.

    Equal numbers share the mean of their ranks. NaN if fewer than two numbers differ in either.
    """
    ranks, others = average_ranks(one), average_ranks(other)
    middle = (len(ranks) + 1) / 2
    product = sum((mine - middle) * (its - middle) for mine, its in zip(ranks, others, strict=True))
    squares = [sum((rank - middle) ** 2 for rank in each) for each in (ranks, others)]
    return product / math.sqrt(math.prod(squares)) if all(squares) else math.nan


def average_ranks(numbers: Sequence[float]) -> list[float]:
    """The rank of each number, 1 for the lowest; equal numbers share the mean of theirs."""
    return [
        sum(other < number for other in numbers) + (numbers.count(number) + 1) / 2
        for number in numbers
    ]
