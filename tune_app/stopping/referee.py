"""The referee: observations in, in the order of their arrival, decisions out.

A state machine without a journal, a clock or Ray, so that a live sweep and a replay decide alike.

How the rules compose:

1. A loss that is NaN or infinite stops the cell immediately; the rules do not hear of it.
2. The end of training finishes the cell; the rules do not hear of it either.
3. Every rule is asked, in their order. The first that says stop decides; where none does, the
   first that says pause; else the first that has anything to say.
4. The baseline is immune: what would stop or pause it is noted, and it goes on. Everything else is
   held against it, so it is there to the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tune_app.journal.records import (
    COMPLETED,
    DIVERGED,
    Action,
    Decision,
    Observation,
)
from tune_app.stopping.curves import Curves
from tune_app.stopping.divergence import diverged
from tune_app.stopping.rule import Rule, Verdict

_BY_WEIGHT = (Action.STOP, Action.PAUSE, Action.CONTINUE)


class Referee:
    """Judges the observations of one sweep.

    Args:
        rules: by the name that their decisions bear, in the order in which they are heard; with
            an empty memory.
        curves: the cells of the sweep, without observations: `feed` adds them.
    """

    def __init__(self, rules: Mapping[str, Rule], curves: Curves) -> None:
        self._rules = dict(rules)
        self._curves = curves

    @property
    def curves(self) -> Curves:
        """The observations so far."""
        return self._curves

    def feed(self, observation: Observation) -> Decision | None:
        """Decides on the next observation. None: the cell goes on without remark."""
        self._curves.add(observation)
        if (verdict := diverged(observation)) is not None:
            return _decision(observation, DIVERGED, verdict)
        if observation.full_bits_per_byte is not None:
            end = f"trained all of its {observation.baseline_tokens:,} tokens"
            return _decision(observation, COMPLETED, Verdict(action=Action.FINISH, reason=end))
        # All are asked, whatever the first says: each keeps a memory of its own.
        verdicts = [
            (name, verdict)
            for name, rule in self._rules.items()
            if (verdict := rule.judge(self._curves, observation)) is not None
        ]
        for action in _BY_WEIGHT:
            for name, verdict in verdicts:
                if verdict.action is action:
                    return _decision(observation, name, self._spared(observation, verdict))
        return None

    def _spared(self, observation: Observation, verdict: Verdict) -> Verdict:
        """The verdict, or for the baseline that it goes on all the same."""
        if verdict.action is Action.CONTINUE or not self._curves.is_baseline(observation.cell):
            return verdict
        return replace(
            verdict,
            action=Action.CONTINUE,
            reason=f"{verdict.reason}; the baseline goes on all the same",
            evidence={**verdict.evidence, "immune": True},
        )


def _decision(observation: Observation, rule: str, verdict: Verdict) -> Decision:
    return Decision(
        cell=observation.cell,
        tokens=observation.tokens,
        action=verdict.action,
        rule=rule,
        reason=verdict.reason,
        evidence=verdict.evidence,
    )
