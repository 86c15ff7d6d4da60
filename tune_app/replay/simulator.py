"""Feeds recorded observations to a fresh referee, in order of arrival."""

from __future__ import annotations

from collections.abc import Iterable

from tune_app.journal.journal import Journal
from tune_app.journal.records import Decision, Observation
from tune_app.stopping.all_rules import StoppingRules
from tune_app.stopping.curves import Curves
from tune_app.stopping.referee import Referee


def replay(referee: Referee, observations: Iterable[Observation]) -> list[Decision]:
    """The referee's decisions, in the order they are made.

    After a decision has ended a cell, the rest of its recorded curve is ignored: those are the
    tokens that the decision saves.

    Args:
        referee: a fresh one, without observations.
        observations: of all cells, in order of arrival.
    """
    ended: set[str] = set()
    decisions: list[Decision] = []
    for observation in observations:
        if observation.cell in ended:
            continue
        decision = referee.feed(observation)
        if decision is None:
            continue
        decisions.append(decision)
        if decision.action.ends:
            ended.add(decision.cell)
    return decisions


def fresh_referee(journal: Journal, rules: StoppingRules | None = None) -> Referee:
    """A referee for the cells of a journal, without any of its observations.

    rules: rules to try; None for those the sweep was started with.

    Raises ValueError if this version does not know the sweep's rules.
    """
    sweep = journal.sweep()
    chosen = StoppingRules.from_record(sweep) if rules is None else rules
    return Referee(
        chosen.build(tokens=sweep.tokens), Curves(journal.cells(), baseline=sweep.baseline)
    )


def replay_journal(journal: Journal, rules: StoppingRules | None = None) -> list[Decision]:
    """What the rules decide on a recorded sweep; only reads the journal.

    With the sweep's own rules these are the recorded decisions, except for their times.

    Raises ValueError if this version does not know the sweep's rules.
    """
    with journal.one_moment():
        return replay(fresh_referee(journal, rules), journal.observations())


def differing_decisions(journal: Journal) -> list[tuple[Decision | None, Decision | None]]:
    """Pairs of a recorded and a replayed decision on the same observation that differ.

    None means no decision. Times are not compared.

    Raises ValueError if this version does not know the sweep's rules.
    """
    recorded = {_place(decision): decision for decision in journal.decisions()}
    replayed = {_place(decision): decision for decision in replay_journal(journal)}
    places = [*recorded, *(place for place in replayed if place not in recorded)]
    pairs = [(recorded.get(place), replayed.get(place)) for place in places]
    return [(one, other) for one, other in pairs if _timeless(one) != _timeless(other)]


def _place(decision: Decision) -> tuple[str, int]:
    return decision.cell, decision.tokens


def _timeless(decision: Decision | None) -> tuple[object, ...] | None:
    if decision is None:
        return None
    return decision.action, decision.rule, decision.reason, dict(decision.evidence)
