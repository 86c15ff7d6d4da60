"""What the rules of a sweep have seen, as its journal has it: events in the order they happened."""

from __future__ import annotations

from dataclasses import dataclass

from tune_app.journal.reading import JournalReader
from tune_app.journal.records import Action, Decision, Observation


@dataclass(frozen=True, kw_only=True)
class Judged:
    """An observation, and the decision that was made on its cell."""

    arrival: int
    observation: Observation
    decision: Decision | None


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A failure ended a cell."""

    cell: str
    arrival: int
    """Of the last observation before it, 0 for none."""


Event = Judged | Decision | Failed
"""A Decision is the promotion of a paused cell, or that a cell waits before its first step, after
the observation whose arrival it names."""


def history(journal: JournalReader) -> list[Event]:
    """Everything that the rules learn, in order.

    At one arrival: the observation, the promotions that it led to, then failures. A promotion that
    a failure led to comes before it then, which is the same to the rules: it is made either way.
    """
    with journal.one_moment():
        arrivals = journal.arrivals_after(0)
        decisions = journal.decisions()
        failures = [one for one in journal.failures() if one.ended]
    own = {(one.cell, one.tokens): one for one in decisions if not _alone(one)}
    events: list[tuple[int, int, int, Event]] = []
    for at, (arrival, observation) in enumerate(arrivals):
        decision = own.get((observation.cell, observation.tokens))
        judged = Judged(arrival=arrival, observation=observation, decision=decision)
        events.append((arrival, 0, at, judged))
    for at, one in enumerate(decisions):
        if _alone(one):
            events.append((one.arrival, 1, at, one))
    for at, failure in enumerate(failures):
        events.append((failure.after, 2, at, Failed(cell=failure.cell, arrival=failure.after)))
    return [event for *_, event in sorted(events, key=lambda one: one[:3])]


def _alone(decision: Decision) -> bool:
    """Whether it was not made on an observation of its cell, which has none before a first step."""
    return decision.action is Action.PROMOTE or decision.tokens == 0
