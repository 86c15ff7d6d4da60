"""A race: designs compete on paired seeds, and leave once others are better beyond chance. Pure.

After each block, which gives every design that is left the same next seed:

1. a design leaves if its paired difference to another one that is left has an e-value beyond the
   bound, and the other is better: `tune_app/statistics/racing.py`. Where the differences of the
   parts of the dev sample are known, it must also be beyond their standard error, as another text
   of that size could turn it;
2. the race ends when one design is left; when those that are left are known to lie within the
   smallest difference that matters ("these data cannot tell them apart"); or when the budget is
   spent, which leaves a set that holds the best one.

The bound is K(K - 1)/2 over α for K designs, so that with probability 1 - α no design ever leaves
that is as good as the one it leaves for, at whatever moment one looks or stops.

Within a seed a cell may be stopped at a rung, but only by measured drift (`early_stop`), never for
the seeds' noise alone: what kills winners is that curves cross. The algorithm, with the simulation
of its error rates, follows Maron and Moore, 1997 ("The Racing Algorithm: Model Selection for Lazy
Learners"), with bounds that hold at any time in place of Hoeffding's.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from statistics import fmean

from tune_app.statistics.racing import (
    Drift,
    Pilot,
    SeedResiduals,
    log_e_value,
    measured_drift,
    radius,
)
from tune_app.stopping.precision import CERTAIN, standard_error

Scores = Mapping[str, Mapping[int, float]]
"""Design → seed → score, lower is better."""
Parts = Mapping[str, Mapping[int, Sequence[float]]]
"""Design → seed → scores of the parts of the dev sample, at the end of training."""


@dataclass(frozen=True, kw_only=True)
class RaceSettings:
    """Raises ValueError for invalid values."""

    alpha: float = 0.05
    """Probability at which, at most, a design ever leaves wrongly."""
    smallest_difference: float = 0.005
    """Bits per byte that matter: designs within it of each other need not be told apart."""
    most_seeds: int = 20
    """The race ends after so many."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha of the race is {self.alpha}; it must be between 0 and 1")
        if not (math.isfinite(self.smallest_difference) and self.smallest_difference > 0):
            raise ValueError(
                f"smallest_difference of the race is {self.smallest_difference}; it must be a "
                "number above 0, for example 0.005 bits per byte"
            )
        if self.most_seeds < 1:
            raise ValueError(f"most_seeds of the race is {self.most_seeds}; it must be at least 1")


class End(str, Enum):
    """How a race ended."""

    ONE_LEFT = "one design is left"
    SAME = "those that are left differ by less than matters"
    BUDGET = "the budget is spent, and those that are left cannot be told apart"


@dataclass(frozen=True, kw_only=True)
class Departure:
    """A design has left the race."""

    design: str
    better: str
    """The design that it left for."""
    seeds: int
    """That both had."""
    difference: float
    """By how much it is worse, mean over these seeds."""
    e_value: float
    bound: float
    document_error: float | None = None
    """Standard error of the difference over parts of the dev sample; None if it is not known."""

    @property
    def reason(self) -> str:
        return self.told(self.better)

    def told(self, better: str) -> str:
        """The reason, with a name for the design that it left for."""
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} paired seeds"
        return (
            f"{self.difference:+.4f} against {better} over {seeds}, e-value {self.e_value:.3g} "
            f"beyond {self.bound:.3g}"
        )


@dataclass(frozen=True, kw_only=True)
class RaceState:
    """A race after some seeds."""

    left: tuple[str, ...]
    """The designs still in it, the best first."""
    departures: tuple[Departure, ...] = ()
    """In the order in which they left."""
    end: End | None = None
    """None while it goes on."""
    seeds: int = 0
    """Blocks of seeds that were run."""
    widest: float = math.inf
    """The largest difference between two that are left, as the data allow it."""
    means: Mapping[str, float] = field(default_factory=dict)
    """Mean score of each design over its own seeds."""

    @property
    def winner(self) -> str | None:
        return self.left[0] if self.end is End.ONE_LEFT else None

    @property
    def reason(self) -> str:
        """Where it stands, in a sentence."""
        return self.told(self.left)

    def told(self, names: Sequence[str]) -> str:
        """Where it stands, with names for the designs that are left."""
        after = "after 1 seed" if self.seeds == 1 else f"after {self.seeds} seeds"
        if self.end is End.ONE_LEFT:
            return f"{names[0]} is left {after}"
        if self.end is None:
            return f"{len(names)} designs are left {after}"
        rest = " and ".join([", ".join(names[1:-1]), names[-1]] if names[2:] else names[1:])
        told = f"these data cannot tell {names[0]} from {rest} {after}"
        if math.isfinite(self.widest):
            told += f": they differ by {self.widest:.4f} bpb at most"
        return told


def race(
    scores: Scores,
    seeds: Sequence[int],
    pilot: Pilot | None,
    settings: RaceSettings,
    *,
    affordable: bool = True,
    out: Collection[str] = (),
    parts: Parts | None = None,
) -> RaceState:
    """The race so far; the same whenever it is computed, so that it is resumed and replayed.

    Args:
        scores: of every design, on the seeds that it was trained on.
        seeds: in the order of the blocks. A block counts once every design that is then left has a
            score; a NaN or infinite score counts as the worst.
        pilot: the noise of a difference, as it was known before; what the race itself says is
            added.
        affordable: whether another block may be paid.
        out: designs that were stopped for another reason: they leave at the block that they lack.
        parts: the scores of the parts of the dev sample, as far as they are known.
    """
    contest = _Contest(scores, pilot, settings, parts or {})
    left, departures, done = list(contest.designs), list[Departure](), 0
    for seed in seeds:
        staying = [design for design in left if design not in out or seed in scores[design]]
        left = staying or left
        if len(left) == 1 or any(seed not in scores[design] for design in left):
            break
        done += 1
        gone = contest.departures(left, seeds[:done])
        departures += gone
        left = [design for design in left if design not in {one.design for one in gone}]
    used = seeds[:done]
    means = {design: contest.mean(design, used) for design in contest.designs}
    left.sort(key=lambda design: (means[design], design))
    widest = contest.widest(left, used)
    return RaceState(
        left=tuple(left),
        departures=tuple(departures),
        end=_end(left, widest, done, settings, affordable=affordable),
        seeds=done,
        widest=widest,
        means=means,
    )


def _end(
    left: Sequence[str], widest: float, seeds: int, settings: RaceSettings, *, affordable: bool
) -> End | None:
    if len(left) == 1:
        return End.ONE_LEFT
    if widest <= settings.smallest_difference:
        return End.SAME
    return None if affordable and seeds < settings.most_seeds else End.BUDGET


class _Contest:
    """The scores of a race, held against each other."""

    def __init__(
        self, scores: Scores, pilot: Pilot | None, settings: RaceSettings, parts: Parts
    ) -> None:
        assert scores, "a race needs a design"
        self.designs = sorted(scores)
        self._scores, self._pilot, self._parts = scores, pilot, parts
        self._residuals: dict[tuple[int, ...], SeedResiduals] = {}
        pairs = max(1, len(scores) * (len(scores) - 1) // 2)
        self._log_bound = math.log(pairs / settings.alpha)

    def mean(self, design: str, seeds: Sequence[int]) -> float:
        """Infinite for a design without a score on these seeds."""
        own = self._scores[design]
        return fmean([own[seed] for seed in seeds if seed in own] or [math.inf])

    def departures(self, left: Sequence[str], seeds: Sequence[int]) -> list[Departure]:
        """Who leaves, the clearest case first, each for the one that says most against it."""
        gone = []
        for design in left:
            found = [
                (log_e, other)
                for other in left
                if other != design
                and (log_e := self._against(design, other, seeds)) >= self._log_bound
                and self._shown_by_documents(design, other, seeds)
            ]
            if found:
                gone.append((*max(found), design))
        return [
            Departure(
                design=design,
                better=other,
                seeds=len(differences),
                difference=fmean(differences),
                e_value=math.exp(min(log_e, 700.0)),
                bound=math.exp(self._log_bound),
                document_error=self._document_error(design, other, seeds),
            )
            for log_e, other, design in sorted(gone, key=lambda one: (-one[0], one[2]))
            for differences in [_differences(design, other, self._scores, seeds)]
        ]

    def widest(self, left: Sequence[str], seeds: Sequence[int]) -> float:
        """The largest difference between two designs that the data allow."""
        widest = 0.0
        for at, one in enumerate(left):
            for other in left[at + 1 :]:
                differences = _differences(one, other, self._scores, seeds)
                if not differences or not math.isfinite(sum(differences)):
                    return math.inf
                pilot = self._pilot_of(one, other, seeds)
                wide = radius(differences, pilot, log_threshold=self._log_bound)
                widest = max(widest, abs(fmean(differences)) + wide)
        return widest

    def _against(self, design: str, other: str, seeds: Sequence[int]) -> float:
        """Logarithm of the e-value that the other one is better; -inf if it does not seem so."""
        differences = _differences(design, other, self._scores, seeds)
        total = sum(differences)
        if not total > 0:
            return -math.inf
        if math.isinf(total):
            return math.inf
        return log_e_value(differences, self._pilot_of(design, other, seeds))

    def _pilot_of(self, one: str, other: str, seeds: Sequence[int]) -> Pilot | None:
        """What is known of the noise of a pair's difference without the two."""
        key = tuple(seeds)
        if key not in self._residuals:
            known = {design: list[float]() for design in self.designs}
            for design, own in known.items():
                for seed in seeds:
                    score = self._scores[design].get(seed, math.nan)
                    if not math.isfinite(score):
                        break
                    own.append(score)
            self._residuals[key] = SeedResiduals(known)
        return self._residuals[key].pilot(self._pilot, without=(one, other))

    def _shown_by_documents(self, design: str, other: str, seeds: Sequence[int]) -> bool:
        error = self._document_error(design, other, seeds)
        if error is None:
            return True
        return fmean(_differences(design, other, self._scores, seeds)) > CERTAIN * error

    def _document_error(self, design: str, other: str, seeds: Sequence[int]) -> float | None:
        """Standard error of the mean difference over parts of the dev sample; None if it is not
        known for all seeds, or of too few parts."""
        both = [
            (self._parts.get(design, {}).get(seed, ()), self._parts.get(other, {}).get(seed, ()))
            for seed in seeds
            if seed in self._scores[design] and seed in self._scores[other]
        ]
        if not both or any(not one or len(one) != len(both[0][0]) for pair in both for one in pair):
            return None
        one, two = (
            [fmean(column) for column in zip(*rows, strict=True)]
            for rows in zip(*both, strict=True)
        )
        error = standard_error(one, two)
        return error if error is not None and math.isfinite(error) else None


def _differences(one: str, other: str, scores: Scores, seeds: Sequence[int]) -> list[float]:
    """Seed by seed; two that both diverged are equal."""
    pairs = [
        (_worst(scores[one][seed]), _worst(scores[other][seed]))
        for seed in seeds
        if seed in scores[one] and seed in scores[other]
    ]
    return [0.0 if a == b else a - b for a, b in pairs]


def _worst(score: float) -> float:
    return score if math.isfinite(score) else math.inf


def early_stop(
    difference: float,
    pairs: Iterable[tuple[float, float]],
    pilot: Pilot | None,
    settings: RaceSettings,
    *,
    looks: int,
) -> tuple[bool, str]:
    """Whether a cell may be stopped at a rung for its difference to the leader there, and why.

    Args:
        difference: bits per byte worse than the leader, at equal tokens.
        pairs: (difference there, difference at the end) of cells trained to their end.
        looks: cells times rungs at which such a question is asked.
    """
    drift: Drift | None = measured_drift(list(pairs))
    if drift is None:
        return False, "drift is not known: too few cells were trained to their end"
    if pilot is None:
        return False, "the seeds' noise is not known yet"
    limit = drift.limit(pilot.sigma, alpha=settings.alpha, looks=looks)
    beyond = difference > limit
    relation = "beyond" if beyond else "within"
    return beyond, (
        f"{difference:+.4f} against the leader is {relation} {limit:.4f}, what drift "
        f"({drift.deviation:.4f} over {drift.pairs} pairs) and noise ({pilot.sigma:.4f}) allow"
    )
