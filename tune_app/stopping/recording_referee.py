"""Connects the referee to the journal: each decision is made and written once, then replayed.

Nothing in the journal is decided again: a stopped cell stays stopped, a paused one paused until it
is promoted, and a cell that repeats tokens after a resume gets the decisions of the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tune_app.journal.journal import Journal
from tune_app.journal.records import Action, CellRecord, Decision, Observation, Status
from tune_app.stopping.curves import Curves
from tune_app.stopping.history import history
from tune_app.stopping.referee import Referee
from tune_app.stopping.rule import Rule


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What follows from an observation."""

    decision: Decision | None
    """On its cell; None: it continues, with nothing to record."""
    new: bool
    """Whether the observation was new; if not, the decision is that of the first time."""
    promoted: tuple[Decision, ...] = ()
    """Paused cells that go on now, or of which it is now known that they do not."""


class RecordingReferee:
    """A referee that writes to a journal and starts from what the journal has.

    Args:
        journal: where observations and decisions go. What it already has is recalled by the rules
            first, in order.
        rules: as for Referee.
        write: performs a write to the journal, and repeats it while the disk is full.
    """

    def __init__(
        self,
        journal: Journal,
        rules: Mapping[str, Rule],
        *,
        write: Callable[[Callable[[], None]], None] = lambda call: call(),
    ) -> None:
        self._journal = journal
        self._write = write
        sweep = journal.sweep()
        curves = Curves(journal.cells(), baseline=sweep.baseline, nuisance=sweep.nuisance)
        self._referee = Referee(rules, curves)
        self._referee.recall_all(history(journal))

    @property
    def curves(self) -> Curves:
        """The observations so far."""
        return self._referee.curves

    def judge(self, observation: Observation) -> Ruling:
        """Decides, and writes the observation and all decisions in one transaction."""
        known, earlier = self._journal.replay(observation)
        if known:
            return Ruling(decision=earlier, new=False)
        decision = self._referee.feed(observation)
        promoted = self._referee.promotions()
        # Only the write may be repeated: a rung must count an arrival once.
        self._write(lambda: self._journal.record(observation, decision, promoted))
        return Ruling(decision=decision, new=True, promoted=tuple(promoted))

    def leave(self, cell: str) -> tuple[Decision, ...]:
        """A cell has failed; returns the promotions of paused cells that this makes certain."""
        self._referee.leave(cell)
        promoted = self._referee.promotions()
        if promoted:
            self._write(lambda: self._journal.promote(promoted))
        return tuple(promoted)

    def begin(self) -> tuple[Decision, ...]:
        """Before cells start: those that are to wait, and promotions that are due without a new
        event, as after other rules have been set."""
        cells = {cell.key: cell for cell in self._journal.cells()}
        due = [
            one
            for one in (*self._referee.holds(), *self._referee.promotions())
            if one.action is not Action.PAUSE or _is_news(one, cells[one.cell])
        ]
        if due:
            self._write(lambda: self._journal.promote(due))
        return tuple(due)


def _is_news(decision: Decision, cell: CellRecord) -> bool:
    """Whether a cell's record does not say yet that it waits, and why."""
    return cell.status is not Status.PAUSED or cell.reason != decision.reason
