"""Evidence that may be looked at after every seed: e-values of paired differences.

Two designs trained with the same seed see the same data in the same order, so their difference is
taken seed by seed. An e-value measures the evidence against "they are equally good". However often
it is looked at, and whenever one stops, it exceeds 1/α with probability α at most if that is true
(Ville's inequality), so a race may end as soon as it does.

The e-value is the Bayes factor of a Gaussian mixture over effects, with the variance unknown: the
t-test of Wang and Ramdas, 2023 ("Anytime-valid t-tests and confidence sequences for Gaussian means
with unknown variance", arXiv 2310.03722, the mixture with the right Haar prior), begun from a pilot
that has estimated the variance, and from the other designs of the race (`SeedResiduals`). With a
long pilot it is Robbins' mixture for a known variance
(Robbins, 1970, "Statistical methods related to the law of the iterated logarithm").

Assumes Gaussian differences, independent over seeds, with one variance for all pairs.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
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


def log_e_value(differences: Sequence[float], pilot: Pilot | None) -> float:
    """Natural logarithm of the e-value against a mean of 0; 0 without differences.

    pilot: None if nothing but the differences says how large the noise is.
    """
    n = len(differences)
    squares, freedom = _known(pilot)
    observed = squares + _squares(differences)
    if n == 0 or observed == 0:
        return 0.0
    explained = sum(differences) ** 2 / ((n + _PRIOR) * observed)
    power = (n + freedom) / 2
    return 0.5 * math.log(_PRIOR / (n + _PRIOR)) - power * math.log1p(-explained)


def radius(differences: Sequence[float], pilot: Pilot | None, *, log_threshold: float) -> float:
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
    squares, freedom = _known(pilot)
    spread = squares + max(0.0, _squares(differences) - n * mean**2)
    needed = log_threshold - 0.5 * math.log(_PRIOR / (n + _PRIOR))
    explained = -math.expm1(-2 * needed / (n + freedom))
    room = n**2 - explained * (n + _PRIOR) * n
    return math.sqrt(explained * (n + _PRIOR) * spread / room) if room > 0 else math.inf


def _known(pilot: Pilot | None) -> tuple[float, int]:
    """Sum of squared residuals and degrees of freedom."""
    return (0.0, 0) if pilot is None else (pilot.squares, pilot.degrees_of_freedom)


class SeedResiduals:
    """What the designs of a race say of the noise: the residuals of their scores once each design
    and each seed has taken its part.

    For a pair only the others count. Their residuals are independent of the pair's difference, so
    that they may be added to its pilot as the race goes on: both together are one t-test with more
    degrees of freedom.

    scores: design → its finite scores on the race's seeds, in their order, as far as it has them.
    """

    def __init__(self, scores: Mapping[str, Sequence[float]]) -> None:
        self._blocks: dict[int, dict[str, list[float]]] = {}
        """Number of seeds → the designs with as many, and their scores less their mean."""
        for seeds in {len(own) for own in scores.values() if len(own) > 1}:
            self._blocks[seeds] = {
                name: [one - sum(own[:seeds]) / seeds for one in own[:seeds]]
                for name, own in scores.items()
                if len(own) >= seeds
            }
        self._sums = {
            seeds: [math.fsum(column) for column in zip(*block.values(), strict=True)]
            for seeds, block in self._blocks.items()
        }
        self._squares = {
            seeds: {name: _squares(row) for name, row in block.items()}
            for seeds, block in self._blocks.items()
        }
        self._totals = {seeds: math.fsum(own.values()) for seeds, own in self._squares.items()}

    def pilot(self, pilot: Pilot | None, *, without: Collection[str] = ()) -> Pilot | None:
        """A pilot with what these designs say of the noise of a difference added.

        Of the designs on two seeds, three and so on those count that have the most degrees of
        freedom. None if nothing is known.
        """
        squares, freedom = 0.0, 0
        for seeds, block in self._blocks.items():
            left_out = [name for name in without if name in block]
            designs = len(block) - len(left_out)
            if (found := (designs - 1) * (seeds - 1)) <= freedom:
                continue
            sums = list(self._sums[seeds])
            total = self._totals[seeds]
            for name in left_out:
                sums = [one - own for one, own in zip(sums, block[name], strict=True)]
                total -= self._squares[seeds][name]
            # A difference has twice the variance of a score.
            squares, freedom = 2 * max(0.0, total - _squares(sums) / designs), found
        before, known = _known(pilot)
        if not before + squares > 0:
            return pilot
        return Pilot(
            sigma=math.sqrt((before + squares) / (known + freedom)),
            degrees_of_freedom=known + freedom,
        )


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

        The quantiles at alpha over the number of looks (cells and rungs) times the two standard
        deviations, together: Student's for drift, which may be known from few pairs, and the
        normal one for noise.

        sigma: of a difference at the end, over seeds.
        """
        from scipy.special import ndtri, stdtrit  # noqa: PLC0415

        share = alpha / max(1, looks)
        drift = float(-stdtrit(self.pairs, share)) * self.deviation
        return math.hypot(drift, float(-ndtri(share)) * sigma)


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
