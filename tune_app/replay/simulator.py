"""Feeds recorded observations to a fresh referee, in the order of their arrival."""

from __future__ import annotations

from collections.abc import Iterable

from tune_app.journal.journal import Journal
from tune_app.journal.records import Decision, Observation
from tune_app.stopping.all_rules import StoppingRules
from tune_app.stopping.curves import Curves
from tune_app.stopping.referee import Referee


def replay(referee: Referee, observations: Iterable[Observation]) -> list[Decision]:
    """The referee's decisions in the order in which they fall.

    A cell that was ended by a decision is observed no more: the rest of its curve, where the
    record has it, is what the decision saved.

    Args:
        referee: that has seen nothing yet.
        observations: in the order of their arrival, of all cells.
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
    """A referee for the cells of a journal that has seen none of its observations.

    rules: those to try; None for those that the sweep was started with.

    Raises ValueError where this version does not know them.
    """
    sweep = journal.sweep()
    chosen = StoppingRules.from_record(sweep) if rules is None else rules
    return Referee(
        chosen.build(tokens=sweep.tokens), Curves(journal.cells(), baseline=sweep.baseline)
    )


def replay_journal(journal: Journal, rules: StoppingRules | None = None) -> list[Decision]:
    """What the rules say to a recorded sweep; the journal is only read.

    With the sweep's own rules these are the decisions that it recorded, but for their times.

    Raises ValueError where this version does not know the rules.
    """
    with journal.one_moment():
        return replay(fresh_referee(journal, rules), journal.observations())


def differing_decisions(journal: Journal) -> list[tuple[Decision | None, Decision | None]]:
    """Pairs of a recorded decision and what a replay says at that place, where the two differ.

    None stands for no decision. Times are not compared.

    Raises ValueError where this version does not know the sweep's rules.
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
