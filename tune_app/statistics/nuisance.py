"""Which nuisance value a design is compared at, and where a ranking turns with that value.

A design was tried at several values of a nuisance, such as the learning rate. The best of several
noisy scores is too good by chance: the more values, and the noisier, the more. So the value is
chosen on one seed and the design is scored on the others, where nothing was chosen; the same split
of data into one part to choose on and another to score on as in any honest model selection (Cawley
and Talbot, 2010, "On Over-fitting in Model Selection").
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

Scores = Mapping[int, float]
"""Bits per byte by seed, of the cells that trained to their end; lower is better."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The nuisance value that a design is compared at."""

    value: int
    """Its place among the values tried."""
    chosen_on: int | None
    """The seed it was chosen on; None if only one value was tried, so that nothing was chosen."""
    scored_on: tuple[int, ...]
    """The seeds whose scores count."""
    compared: int
    """Values that finished on the seed it was chosen on."""
    reason: str
    """One sentence with the numbers, for people."""

    @property
    def held_out(self) -> bool:
        """Whether the seeds that count had no part in the choice."""
        return self.chosen_on not in self.scored_on


def choose(
    scores: Sequence[Scores],
    names: Sequence[str],
    *,
    seeds: Sequence[int],
    waiting: Sequence[Collection[int]] = (),
) -> Choice | None:
    """The value that a design is compared at; None if no cell of it has finished.

    The best on the first seed, of the values that have finished on another seed too or still may:
    one that was stopped everywhere else was lucky once. The design is scored on the other seeds; if
    none has finished at that value, on the one that it was chosen on, which `held_out` denies.
    Equal scores go to the value named first.

    Args:
        scores: for each value tried, what its cells scored.
        names: of the values, as in `learning rate factor 2`.
        seeds: of the sweep, in its order; the first one with a finished cell of the design decides.
        waiting: for each value, the seeds that are still to be trained; none by default.
    """
    if len(scores) == 1:
        scored = tuple(seed for seed in seeds if seed in scores[0])
        reason = f"{names[0]} is the only one"
        return _choice(0, None, scored, len(scored[:1]), reason) if scored else None
    to_come = waiting or [()] * len(scores)
    repeated = [at for at, mine in enumerate(scores) if mine and len({*mine, *to_come[at]}) > 1]
    eligible = repeated or [at for at, mine in enumerate(scores) if mine]
    on = next((seed for seed in seeds if any(seed in scores[at] for at in eligible)), None)
    if on is None:
        return None
    finished = [at for at, mine in enumerate(scores) if on in mine]
    best = min((at for at in finished if at in eligible), key=lambda at: scores[at][on])
    others = tuple(seed for seed in seeds if seed in scores[best] and seed != on)
    reason = f"{names[best]} has {scores[best][on]:.4f} on seed {on}, the best of {len(finished)}"
    passed = [at for at in finished if at not in eligible and scores[at][on] < scores[best][on]]
    if passed:
        names_passed = ", ".join(names[at] for at in passed)
        reason += f" that finished on a second seed, as {names_passed} did not"
    if len(finished) < len(scores):
        reason += f"; {len(scores) - len(finished)} of {len(scores)} did not finish on that seed"
    if not others:
        reason += "; scored on the same seed, so the score is optimistic"
    return _choice(best, on, others or (on,), len(finished), reason)


def _choice(
    value: int, on: int | None, scored: tuple[int, ...], compared: int, reason: str
) -> Choice:
    return Choice(value=value, chosen_on=on, scored_on=scored, compared=compared, reason=reason)


@dataclass(frozen=True, kw_only=True)
class Reversal:
    """Two designs whose order is another one at some nuisance value than in the ranking."""

    ahead: int
    """Place in the ranking of the design that is ahead in it, from 0."""
    behind: int
    value: int
    """Place among the values, at which the other one is ahead."""
    by: float
    """Bits per byte by which it is, in the mean over the seeds that finished of both."""
    seeds: int


def reversals(ranked: Sequence[Sequence[Scores]]) -> Iterator[Reversal]:
    """Every pair of designs, and value, whose order contradicts the ranking.

    Designs are compared at equal values and on the same seeds. Pairs come in the order of the
    ranking.

    ranked: for each design, best first, the scores at each of the values, which are the same for
        all designs; empty where none finished.
    """
    for ahead, one in enumerate(ranked):
        for behind in range(ahead + 1, len(ranked)):
            for value, (mine, other) in enumerate(zip(one, ranked[behind], strict=True)):
                both = [seed for seed in mine if seed in other]
                if not both:
                    continue
                by = statistics.fmean(mine[seed] - other[seed] for seed in both)
                if by > 0:
                    yield Reversal(ahead=ahead, behind=behind, value=value, by=by, seeds=len(both))


def is_at_end(value: object, tried: Sequence[object]) -> bool:
    """Whether the best value is the lowest or the highest of those tried, if they are numbers: a
    better one may lie beyond."""
    numbers = [one for one in tried if isinstance(one, (int, float)) and not isinstance(one, bool)]
    if len(numbers) < len(tried) or len(set(numbers)) < 2:
        return False
    return value in (min(numbers), max(numbers))
