"""The kill rule: a cell that stays worse than the baseline is not worth its tokens.

A cell is stopped when its dev score has been at least `margin` worse than the baseline's on the
same amount of text, at every evaluation over at least `span` tokens, and at no fewer than
`minimum_evaluations` of them. Everything here is a pure function of curves.

The baseline is the one on the cell's own seed and at its nuisance values (see `curves.py`), so that
nothing but the design differs. Its curve is interpolated linearly in tokens and never extrapolated.
Where it is not known yet, or was stopped at that nuisance value, nothing is decided until it is.

A dev sample may be too small for the margin: where the standard error of the difference is above
it, only a cell that is worse by CERTAIN standard errors more than the margin is stopped.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from tune_app.formats import plain
from tune_app.journal.records import Action, Observation
from tune_app.statistics.noise import pooled
from tune_app.stopping.curves import Curves, value_at
from tune_app.stopping.precision import CERTAIN, in_words, standard_error
from tune_app.stopping.rule import RuleSettings, Title, Trial, Verdict

UNITS = ("ppl", "bpb", "sigma", "off")


@dataclass(frozen=True, kw_only=True)
class KillRule(RuleSettings):
    """The rule with its settings. Raises ValueError for invalid ones."""

    NAME: ClassVar[str] = "kill_rule"
    TITLE: ClassVar[Title] = Title(short="kill rule", by="the kill rule")

    unit: str = "ppl"
    """`ppl` (perplexity in the baseline's tokens), `bpb` (bits per byte), `sigma` (standard
    deviations of the baseline's bits per byte over its seeds) or `off`."""
    margin: float = 0.5
    """How much worse counts as worse, in `unit`."""
    span: int = 1_000_000
    """For how many baseline tokens a cell must be worse."""
    minimum_evaluations: int = 4
    """At how many evaluations, at least, a cell must be worse."""

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(
                f"unit of the kill rule is {self.unit!r}; it must be one of {', '.join(UNITS)}"
            )
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise ValueError(
                f"margin of the kill rule is {self.margin!r}; it must be a number of at least 0"
            )
        if self.span < 1:
            raise ValueError(f"span of the kill rule is {self.span}; it must be at least 1 token")
        if self.minimum_evaluations < 1:
            raise ValueError(
                f"minimum_evaluations of the kill rule is {self.minimum_evaluations}; "
                "it must be at least 1"
            )

    def build(self, *, tokens: int) -> Self | None:
        return None if self.unit == "off" else self

    def describe(self, tokens: int) -> str:
        if self.unit == "off":
            return "off"
        return (
            f"stop at ≥ {plain(self.margin, 6)} {self.unit} worse than the baseline for "
            f"{self.span:,} tokens ({self.minimum_evaluations} evaluations or more)"
        )

    def notes(self, trial: Trial) -> tuple[str, ...]:
        if self.unit == "off":
            return ()
        if self.span >= trial.tokens:
            return (
                f"the kill rule never stops a cell: its span of {self.span:,} tokens is not "
                f"shorter than a trial of {trial.tokens:,}",
            )
        # The last evaluation is at the end of the trial, where nothing is left to stop.
        before_the_end = trial.evaluations - 1
        if before_the_end < self.minimum_evaluations:
            return (
                f"the kill rule never stops a cell: it needs {self.minimum_evaluations} "
                f"evaluations, but a trial has {before_the_end} before its end; raise evaluations "
                f"to {self.minimum_evaluations + 1} or more",
            )
        between = trial.tokens * (before_the_end - 1) // trial.evaluations
        if self.span > between:
            return (
                f"the kill rule can hardly ever stop a cell: its span is {self.span:,} tokens, but "
                f"a trial's first evaluation and the last before its end are {between:,} apart",
            )
        return ()

    def judge(self, curves: Curves, observation: Observation) -> Verdict | None:
        baseline = curves.baseline_of(observation.cell)
        if baseline == observation.cell:
            return None
        trial = curves.of(observation.cell)

        def verdict_on(points: Sequence[Observation]) -> Verdict | None:
            return worse_than_baseline(
                points,
                () if baseline is None else curves.of(baseline),
                self,
                at=curves.at_nuisance(observation.cell),
                baseline_seeds=[curves.of(key) for key in curves.baselines_of(observation.cell)],
            )

        verdict = verdict_on(trial)
        if verdict is None or verdict.action is not Action.CONTINUE:
            return verdict
        earlier = verdict_on(trial[:-1])
        # That the sample is too small is recorded once, not at each evaluation.
        return None if earlier is not None and earlier.action is Action.CONTINUE else verdict


def worse_than_baseline(
    trial: Sequence[Observation],
    baseline: Sequence[Observation],
    rule: KillRule,
    *,
    at: str = "",
    baseline_seeds: Sequence[Sequence[Observation]] = (),
) -> Verdict | None:
    """Whether the rule stops a trial now.

    Args:
        trial: the trial's observations in order of tokens.
        baseline: the baseline's on the same seed; empty if there are none.
        rule: margin, span and unit.
        at: the nuisance values of both in words, for the reason; empty if there are none.
        baseline_seeds: the baseline's curves over all seeds; only the unit `sigma` uses them.

    Returns:
        The verdict with its evidence, or None: not worse, not for long enough, or not known yet.
        Evaluations beyond the baseline's curve do not count until it has reached them.
    """
    if rule.unit == "off":
        return None
    limit = _Limit(rule, baseline, baseline_seeds)
    worse: list[dict[str, float]] = []
    newest = None
    # Newest to oldest, up to one that was not worse: earlier ones do not count.
    for observation in reversed(trial):
        bound = limit.at(observation.baseline_tokens)
        if bound is None:
            continue
        expected, margin = bound
        value = _score(observation, rule)
        if value - expected < margin:
            break
        newest = newest or observation
        worse.append(
            {
                "tokens": observation.baseline_tokens,
                "value": value,
                "baseline": expected,
                "margin": margin,
            }
        )
    worse.reverse()
    if len(worse) < rule.minimum_evaluations:
        return None
    span = worse[-1]["tokens"] - worse[0]["tokens"]
    if span < rule.span:
        return None
    last = worse[-1]
    assert newest is not None
    error = _standard_error(newest, baseline, rule)
    beyond = last["value"] - last["baseline"] - last["margin"]
    if error is not None and error > last["margin"] and beyond < CERTAIN * error:
        return Verdict(
            action=Action.CONTINUE,
            reason=(
                "the kill rule would stop it, but the dev sample is too small to decide on: it "
                f"is {plain(last['value'] - last['baseline'], 3)} worse, and the standard error "
                f"of the difference is {in_words(error)}; raise evaluation_bytes or the margin"
            ),
            evidence={"undecided": True, "standard_error": str(error), "margin": last["margin"]},
        )
    unit = "ppl" if rule.unit == "ppl" else "bpb"
    return Verdict(
        action=Action.STOP,
        reason=(
            f"{unit} {plain(last['value'])} is {plain(last['value'] - last['baseline'], 3)} worse "
            f"than the baseline's {plain(last['baseline'])}{at}; "
            f"≥ {plain(last['margin'], 3)} worse at each of the last {len(worse)} evaluations, "
            f"over {span:,.0f} tokens"
        ),
        evidence={"rule": rule.as_dict(), "span": span, "evaluations": worse},
    )


def _standard_error(
    observation: Observation, baseline: Sequence[Observation], rule: KillRule
) -> float | None:
    """Of the difference to the baseline, in the unit of the margin; None where it is not known.

    The baseline's evaluation nearest in tokens stands for its interpolated curve: how the parts of
    the sample differ changes slowly.
    """
    if not baseline:
        return None
    at = observation.baseline_tokens
    near = min(baseline, key=lambda point: abs(point.baseline_tokens - at))
    error = standard_error(observation.sample_parts, near.sample_parts)
    if error is None or rule.unit != "ppl" or not math.isfinite(error):
        return error
    # d ppl / d bpb, where ppl = exp(bpb · ln 2 · bytes per token).
    perplexity = near.baseline_token_perplexity
    return error * perplexity * math.log(perplexity) / near.bits_per_byte


class _Limit:
    """The baseline's value and the margin at a number of tokens; None if not known yet."""

    def __init__(
        self,
        rule: KillRule,
        baseline: Sequence[Observation],
        baseline_seeds: Sequence[Sequence[Observation]],
    ) -> None:
        self._rule = rule
        self._curves = baseline_seeds if rule.unit == "sigma" else [baseline]

    def at(self, tokens: float) -> tuple[float, float] | None:
        values = [
            value_at(curve, tokens, lambda point: _score(point, self._rule))
            for curve in self._curves
        ]
        known = [value for value in values if value is not None]
        if self._rule.unit != "sigma":
            return (known[0], self._rule.margin) if known else None
        noise = pooled([known], of="the baseline")
        if len(known) < len(values) or noise is None:
            return None
        return statistics.fmean(known), self._rule.margin * noise.sigma


def _score(observation: Observation, rule: KillRule) -> float:
    return (
        observation.baseline_token_perplexity if rule.unit == "ppl" else observation.bits_per_byte
    )
