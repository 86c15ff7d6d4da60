"""The kill rule: a cell that stays worse than the baseline is not worth its tokens.

A trial is stopped when its dev score has been at least `margin` worse than the baseline's at equal
text, over a span of at least `span` tokens, with every evaluation in that span worse and at least
`minimum_evaluations` of them. Everything here is a pure function of curves; nothing is stopped.

The baseline's curve is interpolated linearly in tokens and never extrapolated. Where it is not
known yet nothing is decided; the next call, with more of the baseline, decides.
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tune_app.journal.records import Observation

UNITS = ("ppl", "bpb", "sigma", "off")


@dataclass(frozen=True, kw_only=True)
class KillRule:
    """The rule's numbers. Raises ValueError for a rule that could never be meant."""

    unit: str = "ppl"
    """`ppl` (perplexity in the baseline's tokens), `bpb` (bits per byte), `sigma` (standard
    deviations of the baseline's bits per byte over its seeds) or `off`."""
    margin: float = 0.5
    """How much worse counts as worse, in `unit`."""
    span: int = 1_000_000
    """For how many tokens, in the baseline's tokens."""
    minimum_evaluations: int = 4

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(
                f"the kill rule's unit is {self.unit!r}; it must be one of {', '.join(UNITS)}"
            )
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise ValueError(
                f"the kill rule's margin is {self.margin!r}; it must be a number of at least 0"
            )
        if self.span < 1:
            raise ValueError(f"the kill rule's span is {self.span}; it must be at least 1 token")
        if self.minimum_evaluations < 1:
            raise ValueError(
                f"the kill rule wants {self.minimum_evaluations} evaluations; at least 1 is needed"
            )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def describe(self) -> str:
        """The rule in one line, for the person who starts a sweep."""
        if self.unit == "off":
            return "off"
        return (
            f"stop at ≥ {self.margin:g} {self.unit} worse than the baseline for "
            f"{self.span:,} tokens ({self.minimum_evaluations} evaluations or more)"
        )


@dataclass(frozen=True, kw_only=True)
class Kill:
    """A verdict against a trial, with what it rests on."""

    reason: str
    evidence: Mapping[str, Any]


def diverged(observation: Observation) -> Kill | None:
    """A loss that is no number, or infinite, ends a trial at once."""
    for name in ("bits_per_byte", "train_loss"):
        value = getattr(observation, name)
        if not math.isfinite(value):
            return Kill(
                reason=f"{name.replace('_', ' ')} is {value} at {observation.tokens:,} tokens",
                evidence={name: str(value), "tokens": observation.tokens},
            )
    return None


def interpolate(curve: Sequence[tuple[float, float]], tokens: float) -> float | None:
    """The value of a curve of (tokens, value), sorted by tokens, between its points.

    None before the first point, after the last one, and where a neighbour is not finite.
    """
    at = bisect.bisect_left(curve, (tokens, -math.inf))
    if at < len(curve) and curve[at][0] == tokens:
        value = curve[at][1]
    elif 0 < at < len(curve):
        (left, low), (right, high) = curve[at - 1], curve[at]
        value = low + (high - low) * (tokens - left) / (right - left)
    else:
        return None
    return value if math.isfinite(value) else None


def worse_than_baseline(
    trial: Sequence[Observation],
    baseline: Sequence[Observation],
    rule: KillRule,
    *,
    baseline_seeds: Sequence[Sequence[Observation]] = (),
) -> Kill | None:
    """Whether the rule stops a trial now.

    Args:
        trial: the trial's observations in the order of their tokens.
        baseline: the baseline's, of the same seed where it has one.
        rule: margin, span and unit.
        baseline_seeds: the baseline's curves over all seeds; only the unit `sigma` uses them.

    Returns:
        The kill with its evidence, or None: not worse, not for long enough, or not known yet.
        The last evaluations where the baseline is known count; later ones wait for it.
    """
    if rule.unit == "off":
        return None
    limit = _Limit(rule, baseline, baseline_seeds)
    worse: list[dict[str, float]] = []
    for observation in trial:
        bound = limit.at(observation.baseline_tokens)
        if bound is None:
            continue
        reference, margin = bound
        value = _score(observation, rule)
        if value - reference < margin:
            worse = []
            continue
        worse.append(
            {
                "tokens": observation.baseline_tokens,
                "value": value,
                "baseline": reference,
                "margin": margin,
            }
        )
    if len(worse) < rule.minimum_evaluations:
        return None
    span = worse[-1]["tokens"] - worse[0]["tokens"]
    if span < rule.span:
        return None
    last = worse[-1]
    unit = "ppl" if rule.unit == "ppl" else "bpb"
    return Kill(
        reason=(
            f"{unit} {last['value']:.4g} is {last['value'] - last['baseline']:.3g} worse than the "
            f"baseline's {last['baseline']:.4g}; ≥ {last['margin']:.3g} worse at each of the last "
            f"{len(worse)} evaluations, over {span:,.0f} tokens"
        ),
        evidence={"rule": rule.as_dict(), "span": span, "evaluations": worse},
    )


class _Limit:
    """The baseline's value and the margin at a number of tokens, or None where not known."""

    def __init__(
        self,
        rule: KillRule,
        baseline: Sequence[Observation],
        baseline_seeds: Sequence[Sequence[Observation]],
    ) -> None:
        self._rule = rule
        curves = baseline_seeds if rule.unit == "sigma" else [baseline]
        self._curves = [
            [(float(point.baseline_tokens), _score(point, rule)) for point in curve]
            for curve in curves
        ]

    def at(self, tokens: float) -> tuple[float, float] | None:
        values = [interpolate(curve, tokens) for curve in self._curves]
        known = [value for value in values if value is not None]
        if self._rule.unit != "sigma":
            return (known[0], self._rule.margin) if known else None
        if len(known) < len(values) or len(known) < 2:
            return None
        return statistics.fmean(known), self._rule.margin * statistics.stdev(known)


def _score(observation: Observation, rule: KillRule) -> float:
    return (
        observation.baseline_token_perplexity if rule.unit == "ppl" else observation.bits_per_byte
    )
