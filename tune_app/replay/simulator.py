"""Feeds recorded observations to a fresh referee, in order of arrival."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Self

from tune_app.journal.journal import Journal
from tune_app.journal.records import Action, Decision, Observation
from tune_app.stopping.all_rules import StoppingRules
from tune_app.stopping.curves import Curves
from tune_app.stopping.history import Event, Failed, Judged, history
from tune_app.stopping.referee import Referee
from tune_app.stopping.rule_sets import rule_sets


def replay(referee: Referee, observations: Iterable[Observation]) -> list[Decision]:
    """The referee's decisions, in the order they are made.

    After a decision has ended a cell, the rest of its recorded curve is ignored: those are the
    tokens that the decision saves. That of a paused cell waits until the cell is promoted.

    Args:
        referee: a fresh one, without observations.
        observations: of all cells, in order of arrival.
    """
    return _Replay(referee).begun().run(observations)


class _Replay:
    def __init__(self, referee: Referee) -> None:
        self._referee = referee
        self._ended: set[str] = set()
        self._held: dict[str, list[Observation]] = {}
        """The observations of paused cells that are still to come."""
        self._decisions: list[Decision] = []

    def begun(self) -> Self:
        """With what is decided before any cell starts."""
        for decision in self._referee.holds():
            self._decisions.append(decision)
            self._held.setdefault(decision.cell, [])
        self._promote()
        return self

    def run(self, events: Iterable[Observation | Failed]) -> list[Decision]:
        for event in events:
            if isinstance(event, Failed):
                self._referee.leave(event.cell)
                self._promote()
            else:
                self._take(event)
        return self._decisions

    def _take(self, observation: Observation) -> None:
        if observation.cell in self._ended:
            return
        if observation.cell in self._held:
            self._held[observation.cell].append(observation)
            return
        decision = self._referee.feed(observation)
        if decision is not None:
            self._decisions.append(decision)
            if decision.action.ends:
                self._ended.add(decision.cell)
            elif decision.action is Action.PAUSE:
                self._held[decision.cell] = []
        self._promote()

    def _promote(self) -> None:
        promoted = self._referee.promotions()
        self._decisions += promoted
        for decision in promoted:
            if decision.action is not Action.PROMOTE:
                continue
            for held in self._held.pop(decision.cell, []):
                self._take(held)


def fresh_referee(journal: Journal, rules: StoppingRules | None = None) -> Referee:
    """A referee for the cells of a journal, without any of its observations.

    rules: rules to try; None for those the sweep was started with.

    Raises ValueError if this version does not know the sweep's rules.
    """
    sweep = journal.sweep()
    chosen = StoppingRules.from_record(sweep) if rules is None else rules
    return Referee(
        chosen.build(tokens=sweep.tokens),
        Curves(journal.cells(), baseline=sweep.baseline, nuisance=sweep.nuisance),
    )


def replay_journal(journal: Journal, rules: StoppingRules | None = None) -> list[Decision]:
    """What the rules decide on a recorded sweep; only reads the journal.

    With the sweep's own rules these are the recorded decisions, except for their times. Where rules
    or cells were changed on the way, each observation is judged by those of its time.

    Raises ValueError if this version does not know the sweep's rules.
    """
    with journal.one_moment():
        if rules is not None:
            return replay(fresh_referee(journal, rules), journal.observations())
        return _replay_by_amendment(journal)


def _replay_by_amendment(journal: Journal) -> list[Decision]:
    sweep, cells, amendments = journal.sweep(), journal.cells(), journal.amendments()
    events = history(journal)
    ends = [*(one.arrival for one in amendments), max([0, *map(_arrival, events)])]
    decisions: list[Decision] = []
    begin = -1
    for number, (rules, end) in enumerate(zip(rule_sets(sweep, amendments), ends, strict=True)):
        known = [cell for cell in cells if cell.amendment <= number]
        referee = Referee(
            rules.build(tokens=sweep.tokens),
            Curves(known, baseline=sweep.baseline, nuisance=sweep.nuisance),
        )
        # The rules of each time start from everything before, as a continued sweep does.
        referee.recall_all(event for event in events if _arrival(event) <= begin)
        replayed = (
            _Replay(referee)
            .begun()
            .run(
                event.observation if isinstance(event, Judged) else event
                for event in events
                if begin < _arrival(event) <= end and not isinstance(event, Decision)
            )
        )
        decisions += [replace(decision, amendment=number) for decision in replayed]
        begin = end
    return decisions


def _arrival(event: Event) -> int:
    return event.arrival


def differing_decisions(journal: Journal) -> list[tuple[Decision | None, Decision | None]]:
    """Pairs of a recorded and a replayed decision on the same observation that differ.

    None means no decision. Times are not compared, nor the reason's words, which other versions
    may have put differently: the evidence holds its numbers.

    Raises ValueError if this version does not know the sweep's rules.
    """
    recorded = {_place(decision): decision for decision in journal.decisions()}
    replayed = {_place(decision): decision for decision in replay_journal(journal)}
    places = [*recorded, *(place for place in replayed if place not in recorded)]
    pairs = [(recorded.get(place), replayed.get(place)) for place in places]
    return [(one, other) for one, other in pairs if _decided(one) != _decided(other)]


def _place(decision: Decision) -> tuple[str, int, bool]:
    return decision.cell, decision.tokens, decision.action is Action.PROMOTE


def _decided(decision: Decision | None) -> tuple[object, ...] | None:
    if decision is None:
        return None
    return decision.action, decision.rule, dict(decision.evidence)
