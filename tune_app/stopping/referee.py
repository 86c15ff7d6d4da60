"""The referee: observations in order of arrival in, decisions out.

A state machine without a journal, a clock or Ray, so that a live sweep and a replay decide alike.

How the rules compose:

1. A NaN or infinite loss stops the cell immediately; the rules are not asked.
2. The end of training finishes the cell; the rules are not asked either.
3. Otherwise every rule is asked, in order. The first that says stop decides; if none does, the
   first that says pause; if none does either, the first that has a verdict at all.
4. A rule that pauses cells is told of every decision, and may let paused cells go on at any
   observation, also of another cell. It may have cells wait before their first step.
5. The baseline is immune: a verdict to stop or pause it is recorded, but it continues, because all
   other cells are compared with it to the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
from tune_app.stopping.history import Event, Failed
from tune_app.stopping.rule import PausingRule, Rule, Verdict

_BY_WEIGHT = (Action.STOP, Action.PAUSE, Action.CONTINUE)


class Referee:
    """Judges the observations of one sweep.

    Args:
        rules: by name (as in Decision.rule), in the order in which they are asked; freshly built.
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
        """Decides on the next observation. None: the cell continues, with nothing to record.

        `promotions` then says which paused cells go on.
        """
        decision = self._decide(observation)
        self._settle(observation.cell, None if decision is None else decision.action)
        return decision

    def recall_all(self, events: Iterable[Event]) -> None:
        """Takes what happened before: the decisions that were made stand."""
        for event in events:
            if isinstance(event, Decision):
                self._settle(event.cell, event.action)
            elif isinstance(event, Failed):
                self.leave(event.cell)
            else:
                self._decide(event.observation)
                action = None if event.decision is None else event.decision.action
                self._settle(event.observation.cell, action)

    def leave(self, cell: str) -> None:
        """A cell has failed: no rule waits for it, until it is observed again."""
        self._settle(cell, Action.STOP)

    def holds(self) -> list[Decision]:
        """The cells that are to wait before their first step, and why."""
        return self._of_paused(lambda rule: rule.holds(self._curves))

    def promotions(self) -> list[Decision]:
        """The paused cells that go on now, or never will, and why; each is returned once."""
        return self._of_paused(lambda rule: rule.promotions(self._curves))

    def _of_paused(
        self, ask: Callable[[PausingRule], Iterable[tuple[str, Verdict]]]
    ) -> list[Decision]:
        found = [
            Decision(
                cell=cell,
                tokens=own[-1].tokens if (own := self._curves.of(cell)) else 0,
                action=verdict.action,
                rule=name,
                reason=verdict.reason,
                evidence=verdict.evidence,
            )
            for name, rule in self._rules.items()
            if isinstance(rule, PausingRule)
            for cell, verdict in ask(rule)
        ]
        for decision in found:
            self._settle(decision.cell, decision.action)
        return found

    def _settle(self, cell: str, action: Action | None) -> None:
        for rule in self._rules.values():
            if isinstance(rule, PausingRule):
                rule.settle(cell, action)

    def _decide(self, observation: Observation) -> Decision | None:
        self._curves.add(observation)
        if (verdict := diverged(observation)) is not None:
            return _decision(observation, DIVERGED, verdict)
        if observation.full_bits_per_byte is not None:
            end = f"trained all of its {observation.baseline_tokens:,} tokens"
            return _decision(observation, COMPLETED, Verdict(action=Action.FINISH, reason=end))
        # Ask all of them, whatever the first says: each keeps its own memory.
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
        """The verdict, turned into CONTINUE for the baseline."""
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
