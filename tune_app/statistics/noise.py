"""The seeds' noise: how much a score moves if nothing but the seed changes.

Few seeds of one design say little: three give its standard deviation within a factor of 0.5 to 6.
So the residuals of all designs are pooled, as if all had the same deviation. Designs that a rule
stopped on some seeds lack their unlucky ones, so the deviation is rather too low than too high.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from tune_app.statistics.intervals import deviation_interval, student_quantile

ENOUGH = 8
"""Degrees of freedom from which a deviation is taken as known: within 0.7 to 1.9 times itself."""
LIMIT = 2.0
"""Standard deviations within which two scores are not told apart."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """A standard deviation over seeds, pooled over groups of scores.

    Raises ValueError for one that no scores could give.
    """

    sigma: float
    """In the unit of the scores, of a single seed."""
    degrees_of_freedom: int
    """Scores less groups."""
    runs: int
    """Scores that it is from."""
    source: str
    """Which scores these are, as in `20 runs of this sweep`."""
    detail: str = ""
    """More about them, if it is a recorded deviation: how it was measured."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise ValueError(f"sigma is {self.sigma!r}; it must be a number of at least 0")
        if self.degrees_of_freedom < 1:
            raise ValueError(
                f"degrees_of_freedom is {self.degrees_of_freedom!r}; it must be at least 1"
            )
        if self.runs <= self.degrees_of_freedom:
            raise ValueError(
                f"runs is {self.runs!r}; it must be more than degrees_of_freedom, "
                f"{self.degrees_of_freedom}: each design takes one away"
            )

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true deviation lies with 95 % confidence, by chi-square."""
        return deviation_interval(self.sigma, self.degrees_of_freedom)

    @property
    def is_well_known(self) -> bool:
        return self.degrees_of_freedom >= ENOUGH

    @property
    def limit(self) -> float:
        """Standard deviations within which two scores are not told apart.

        LIMIT; of a deviation that is known from few seeds Student's t to the same probability,
        because it may be far too low by chance.
        """
        return LIMIT if self.is_well_known else student_quantile(self.degrees_of_freedom)


def pooled(groups: Iterable[Iterable[float]], *, of: str) -> Noise | None:
    """The deviation within groups of scores, each of one design on several seeds.

    Scores that are not finite are left out. None if no group has two others.

    of: whose runs these are, as in `this sweep`.
    """
    finite = [[score for score in group if math.isfinite(score)] for group in groups]
    several = [group for group in finite if len(group) > 1]
    if not several:
        return None
    degrees_of_freedom = sum(len(group) - 1 for group in several)
    if len(several) == 1:
        # To the last digit what it is of these scores alone.
        sigma = statistics.stdev(several[0])
    else:
        squares = math.fsum(statistics.variance(group) * (len(group) - 1) for group in several)
        sigma = math.sqrt(squares / degrees_of_freedom)
    runs = sum(map(len, several))
    return Noise(
        sigma=sigma,
        degrees_of_freedom=degrees_of_freedom,
        runs=runs,
        source=f"{runs} runs of {of}",
    )


def together(one: Noise, other: Noise) -> Noise:
    """Two estimates of the same deviation as one."""
    degrees_of_freedom = one.degrees_of_freedom + other.degrees_of_freedom
    squares = sum(part.degrees_of_freedom * part.sigma**2 for part in (one, other))
    return Noise(
        sigma=math.sqrt(squares / degrees_of_freedom),
        degrees_of_freedom=degrees_of_freedom,
        runs=one.runs + other.runs,
        source=f"{one.source} and {other.source}",
        detail="; ".join(part.detail for part in (one, other) if part.detail),
    )


@dataclass(frozen=True, kw_only=True)
class Margin:
    """How far a mean score lies behind another one, measured by the seeds' noise."""

    by: float
    """Bits per byte; negative if it is ahead."""
    unit: float
    """σ·√((1/n₁ + 1/n₂)/2): σ itself between single seeds, σ/√n between means of n seeds each."""
    limit: float
    """Units within which the two are not told apart."""

    @property
    def sigmas(self) -> float:
        """The margin in units; infinite if there is no noise, and 0 between equal scores."""
        if self.by == 0:
            return 0.0
        return self.by / self.unit if self.unit > 0 else math.copysign(math.inf, self.by)

    @property
    def told_apart(self) -> bool:
        """Whether it lies behind by more than noise. One that is ahead is not told apart: it was
        ranked behind for another reason."""
        return self.by > self.limit * self.unit


def margin(by: float, *, seeds: int, other_seeds: int, noise: Noise) -> Margin:
    """The margin between two means over so many seeds each.

    Differences on shared seeds, which may vary a little less, are not used: few seeds say even
    less about how much less.
    """
    unit = noise.sigma * math.sqrt((1 / seeds + 1 / other_seeds) / 2)
    return Margin(by=by, unit=unit, limit=noise.limit)
