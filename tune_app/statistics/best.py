"""Which of several designs is best, and what cannot be told: a verdict from scores over seeds.

Designs are compared on the seeds that all of them have, with one deviation pooled over everything
that was repeated. Against the best: the leader is not chosen before the data are seen, so its lead
is judged as in Hsu's multiple comparisons with the best (Hsu, 1984), by the distribution of the
largest of all leads under equality (Dunnett's), on both sides. For two designs this is Student's t.
Two sides are more than Hsu asks for, because his claim that a design is one of the best stays true
where all are equal, and ours, that it is better than all others, would not.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tune_app.statistics.intervals import student_quantile
from tune_app.statistics.multiplicity import dunnett_quantile, dunnett_tail, holm
from tune_app.statistics.noise import Noise, together
from tune_app.statistics.paired import Scores, block_noise, paired, shared_seeds

ALPHA = 0.05
"""Default probability of naming a winner where none is."""
POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class Behind:
    """A design that is not the leader."""

    name: str
    by: float
    """Mean difference to the leader; positive: worse."""
    p: float
    """That it is behind by chance, corrected for the number of designs by Holm's method."""
    interval: tuple[float, float]
    """Where the true difference lies, for all designs together."""
    told_apart: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What scores over seeds say about the best of several designs."""

    winner: str | None
    """None: these data cannot tell the leader from the next."""
    leader: str
    """The lowest mean."""
    runner_up: str | None
    """The next; None if there is no other."""
    means: Mapping[str, float]
    """Over the shared seeds, the best first."""
    margin: float
    """Runner-up less leader."""
    p: float
    """That a lead as large comes by chance, whichever design were to have it."""
    interval: tuple[float, float]
    """Where the true margin lies; an end below 0 says that the order may be another one."""
    behind: tuple[Behind, ...]
    """All but the leader, in order."""
    seeds: tuple[int, ...]
    noise: Noise | None
    """The deviation of a single run that it rests on; None if nothing was repeated."""
    alpha: float
    smallest_shown: float | None
    """The smallest lead that these data would have called one."""
    smallest_found: float | None
    """The true lead that they would have found in POWER of cases."""
    equal: bool
    """Whether even the far end of the interval is less than the smallest difference that matters:
    the two are equal for all that matters, which is more than not told apart."""
    reason: str
    """One sentence with the numbers, for people."""

    @property
    def survivors(self) -> tuple[str, ...]:
        """The leader and all that it is not told apart from."""
        return (self.leader, *(one.name for one in self.behind if not one.told_apart))


def verdict_of(
    scores: Mapping[str, Scores],
    *,
    others: Noise | None = None,
    alpha: float = ALPHA,
    smallest_difference: float = 0.0,
) -> Verdict:
    """The verdict on some designs.

    Args:
        scores: name → bits per byte by seed. Only seeds that all designs have count.
        others: the seeds' noise as measured on other designs of the same budget, which is pooled
            with these. It holds the seeds' own part, so it is rather too large than too small.
        alpha: probability of naming a winner among equal designs.
        smallest_difference: that matters, in bits per byte.

    Raises ValueError if a design has no seed in common with the others.
    """
    names = list(scores)
    seeds = shared_seeds(list(scores.values()))
    if not names or not seeds:
        raise ValueError(
            f"{', '.join(names) or 'no designs'} have no seed in common, so they cannot be "
            "compared; train all of them on the same seeds"
        )
    means = {name: statistics.fmean(scores[name][seed] for seed in seeds) for name in names}
    order = sorted(names, key=lambda name: (means[name], name))
    leader, *rest = order
    own = block_noise([{seed: scores[name][seed] for seed in seeds} for name in names], of="these")
    noise = _pooled(own, others)
    common = {
        "leader": leader,
        "means": {name: means[name] for name in order},
        "seeds": seeds,
        "noise": noise,
        "alpha": alpha,
    }
    if not rest:
        return _unjudged(common, reason=f"{leader} is the only one left to judge")
    margin = means[rest[0]] - means[leader]
    if noise is None:
        reason = (
            f"{leader} leads {rest[0]} by {margin:.4f} bpb, but nothing was trained twice, so the "
            "seeds' noise is unknown and nothing is told apart"
        )
        return _unjudged(common, reason=reason)
    if noise.sigma == 0:
        reason = (
            f"all seeds of a design scored exactly the same, so {len(seeds)} seeds say nothing "
            "about noise, and nothing is told apart"
        )
        return _unjudged(common, reason=reason)
    return _judged(
        common,
        scores,
        rest=rest,
        margin=margin,
        noise=noise,
        smallest_difference=smallest_difference,
    )


def _judged(
    common: Mapping[str, Any],
    scores: Mapping[str, Scores],
    *,
    rest: Sequence[str],
    margin: float,
    noise: Noise,
    smallest_difference: float,
) -> Verdict:
    leader, seeds, alpha = common["leader"], common["seeds"], common["alpha"]
    freedom, number = noise.degrees_of_freedom, len(rest)
    error: float = noise.sigma * (2 / len(seeds)) ** 0.5
    limit = dunnett_quantile(alpha / 2, others=number, degrees_of_freedom=freedom)
    p = min(1.0, 2 * dunnett_tail(margin / error, others=number, degrees_of_freedom=freedom))
    cut = {name: {seed: scores[name][seed] for seed in seeds} for name in (leader, *rest)}
    found = [one for name in rest if (one := paired(cut[leader], cut[name], noise=noise))]
    behind = tuple(
        Behind(
            name=name,
            by=one.by,
            p=corrected,
            interval=(one.by - limit * error, one.by + limit * error),
            told_apart=corrected < alpha and one.by >= limit * error,
        )
        for name, one, corrected in zip(rest, found, holm([one.p for one in found]), strict=True)
    )
    low, high = margin - limit * error, margin + limit * error
    won = p < alpha
    equal = not won and high < smallest_difference
    reason = _numbers(rest[0], by=margin, p=p, interval=(low, high), seeds=seeds, noise=noise)
    first = f"{leader} is better than" if won else f"these data cannot tell {leader} from"
    if equal:
        reason += (
            f"; even its far end is less than {smallest_difference:g} bpb, the smallest difference "
            "that matters, so either will do"
        )
    return Verdict(
        **common,
        winner=leader if won else None,
        runner_up=rest[0],
        margin=margin,
        p=p,
        interval=(low, high),
        behind=behind,
        smallest_shown=limit * error,
        smallest_found=(limit + student_quantile(freedom, POWER)) * error,
        equal=equal,
        reason=f"{first} {reason}",
    )


def _numbers(
    behind: str,
    *,
    by: float,
    p: float,
    interval: tuple[float, float],
    seeds: Sequence[int],
    noise: Noise,
) -> str:
    on = "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    low, high = interval
    return (
        f"{behind}, which is {by:.4f} bpb behind on {on}, interval {low:.4f} to {high:.4f}, "
        f"{p_text(p)}, σ = {noise.sigma:.4f} of {noise.degrees_of_freedom} degrees of freedom"
    )


def p_text(p: float) -> str:
    """`p = .003`, `p < .0001`."""
    if p < 1e-4:
        return "p < .0001"
    return f"p = {f'{p:.4f}'.lstrip('0').rstrip('0').rstrip('.')}"


def _pooled(own: Noise | None, others: Noise | None) -> Noise | None:
    if own is None or others is None:
        return own or others
    return together(own, others)


def _unjudged(common: Mapping[str, Any], *, reason: str) -> Verdict:
    """The verdict where nothing says how far chance goes."""
    (_, leading), *rest = common["means"].items()
    anything = (-math.inf, math.inf)
    return Verdict(
        **common,
        winner=None,
        runner_up=rest[0][0] if rest else None,
        margin=rest[0][1] - leading if rest else 0.0,
        p=1.0,
        interval=anything,
        behind=tuple(
            Behind(name=name, by=mean - leading, p=1.0, interval=anything, told_apart=False)
            for name, mean in rest
        ),
        smallest_shown=None,
        smallest_found=None,
        equal=False,
        reason=reason,
    )
