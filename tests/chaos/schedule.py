"""Which faults come when: a pure function of a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LONGEST_DELAY = 4.0
"""Seconds between two faults at the most, where there is a victim for the second."""

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class PlannedFault:
    """A fault before it happens."""

    number: int
    """From 1."""
    kind: str
    delay: float
    """Seconds after the fault before it, or longer, until there is a victim."""
    seconds: float
    """How long it lasts; 0 for one that is over at once."""
    choice: float
    """In [0, 1): picks the victim among those that there are then."""

    def pick(self, count: int) -> int:
        """The victim's place among `count` of them."""
        assert count > 0
        return int(self.choice * count)


def make_schedule(
    durations: Mapping[str, Range], *, count: int, seed: int
) -> tuple[PlannedFault, ...]:
    """Faults in shuffled rounds, so that each kind comes as often as the others, give or take one.

    Args:
        durations: seconds that a fault lasts, from and to, by kind.
        count: number of faults.
        seed: the same one gives the same schedule.
    """
    if count < 1:
        raise ValueError(f"{count} faults; there must be at least 1")
    generator = random.Random(seed)
    kinds: list[str] = []
    while len(kinds) < count:
        kinds += generator.sample(sorted(durations), len(durations))
    return tuple(
        PlannedFault(
            number=number,
            kind=kind,
            delay=generator.uniform(0.0, LONGEST_DELAY),
            seconds=generator.uniform(*durations[kind]),
            choice=generator.random(),
        )
        for number, kind in enumerate(kinds[:count], start=1)
    )


def make_moments(*, count: int, seed: int, longest: float) -> Sequence[float]:
    """Seconds after a driver's start at which it is killed, evenly spread over (0, longest)."""
    generator = random.Random(seed)
    return [generator.uniform(0.0, longest) for _ in range(count)]
