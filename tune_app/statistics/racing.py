"""Evidence that may be looked at after every seed: e-values of paired differences.

Two designs trained with the same seed see the same data in the same order, so their difference is
taken seed by seed. An e-value measures the evidence against "they are equally good". However often
it is looked at, and whenever one stops, it exceeds 1/α with probability α at most if that is true
(Ville's inequality), so a race may end as soon as it does.

The e-value is the Bayes factor of a Gaussian mixture over effects, with the variance unknown: the
t-test of Wang and Ramdas, 2023 ("Anytime-valid t-tests and confidence sequences for Gaussian means
with unknown variance", arXiv 2310.03722, the mixture with the right Haar prior), begun from a pilot
that has estimated the variance. With a long pilot it is Robbins' mixture for a known variance
(Robbins, 1970, "Statistical methods related to the law of the iterated logarithm").

Assumes Gaussian differences, independent over seeds, with one variance for all pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """What is known of the noise before the race. Raises ValueError for what cannot be."""

    sigma: float
    """Standard deviation of the difference of two equally good designs on one seed."""
    degrees_of_freedom: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"sigma is {self.sigma!r}; it must be a number above 0")
        if self.degrees_of_freedom < 1:
            raise ValueError(
                f"degrees_of_freedom is {self.degrees_of_freedom}; it must be at least 1, as from "
                "a design on two seeds"
            )

    @property
    def squares(self) -> float:
        """Sum of the squared residuals that it is from."""
        return self.degrees_of_freedom * self.sigma**2

    @classmethod
    def of_scores(cls, sigma: float, degrees_of_freedom: int) -> Pilot:
        """From the standard deviation of a single score over seeds.

        Their difference has √2 times it if the seeds have nothing in common, and less if they have:
        so a race errs on the side of going on.
        """
        return cls(sigma=math.sqrt(2) * sigma, degrees_of_freedom=degrees_of_freedom)


EFFECT = 3.0
"""Standard deviation of the mixture, in those of a difference: about the effects it is best for."""
_PRIOR = EFFECT**-2


def log_e_value(differences: Sequence[float], pilot: Pilot) -> float:
    """Natural logarithm of the e-value against a mean of 0; 0 without differences."""
    n = len(differences)
    if n == 0:
        return 0.0
    observed = pilot.squares + _squares(differences)
    explained = sum(differences) ** 2 / ((n + _PRIOR) * observed)
    power = (n + pilot.degrees_of_freedom) / 2
    return 0.5 * math.log(_PRIOR / (n + _PRIOR)) - power * math.log1p(-explained)


def radius(differences: Sequence[float], pilot: Pilot, *, log_threshold: float) -> float:
    """Half the width of the confidence sequence around the mean difference.

    The means whose e-value stays below the threshold: all of them hold at once, at every number of
    seeds, with the probability 1 - exp(-log_threshold). Infinite if the data bound nothing yet.
    """
    n = len(differences)
    if n == 0:
        return math.inf
    # About the mean the sum is 0, so only the distance d counts: solve log_e_value = threshold,
    # with explained = n² d² / ((n + prior) (spread + n d²)), for d.
    mean = sum(differences) / n
    spread = pilot.squares + max(0.0, _squares(differences) - n * mean**2)
    needed = log_threshold - 0.5 * math.log(_PRIOR / (n + _PRIOR))
    explained = -math.expm1(-2 * needed / (n + pilot.degrees_of_freedom))
    room = n**2 - explained * (n + _PRIOR) * n
    return math.sqrt(explained * (n + _PRIOR) * spread / room) if room > 0 else math.inf


def _squares(differences: Sequence[float]) -> float:
    return sum(one * one for one in differences)


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How much a difference still moves from some point of training to its end."""

    deviation: float
    """Standard deviation of (difference at the end - difference there), over pairs."""
    pairs: int

    def limit(self, sigma: float, *, alpha: float, looks: int) -> float:
        """The difference to the leader at which a cell is beyond chance and drift.

        Normal quantile at alpha over the number of looks (cells and rungs), times the two standard
        deviations together.

        sigma: of a difference at the end, over seeds.
        """
        from scipy.special import ndtri  # noqa: PLC0415

        z = float(-ndtri(alpha / max(1, looks)))
        return z * math.hypot(self.deviation, sigma)


FEWEST_PAIRS = 3
"""With fewer finished pairs drift is not known, and nothing may be stopped for it."""


def measured_drift(pairs: Sequence[tuple[float, float]]) -> Drift | None:
    """From pairs of (difference there, difference at the end) of cells trained to their end, each
    to the leader. None for fewer than FEWEST_PAIRS.

    Around zero, not around their mean: a drift that all share moves the ranking as well.
    """
    if len(pairs) < FEWEST_PAIRS:
        return None
    moved = _squares([end - there for there, end in pairs])
    return Drift(deviation=math.sqrt(moved / len(pairs)), pairs=len(pairs))
