"""Connects the referee to the journal: each decision is made and written once, then replayed.

Nothing in the journal is decided again: a stopped cell stays stopped, and a cell that repeats
tokens after a resume gets the decisions of the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tune_app.journal.journal import Journal
from tune_app.journal.records import Decision, Observation
from tune_app.stopping.curves import Curves
from tune_app.stopping.referee import Referee
from tune_app.stopping.rule import Rule


class RecordingReferee:
    """A referee that writes to a journal and starts from what the journal has.

    Args:
        journal: where observations and decisions go. Observations it already has are fed to the
            rules first, in order of arrival.
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
        for observation in journal.observations():
            self._referee.feed(observation)

    @property
    def curves(self) -> Curves:
        """The observations so far."""
        return self._referee.curves

    def judge(self, observation: Observation) -> tuple[Decision | None, bool]:
        """Decides, and writes observation and decision in one transaction.

        Returns:
            The decision, or None to continue without one; and whether the observation was new.
        """
        known, earlier = self._journal.replay(observation)
        if known:
            return earlier, False
        decision = self._referee.feed(observation)
        # Only the write may be repeated: a rung must count an arrival once.
        self._write(lambda: self._journal.record(observation, decision))
        return decision, True
