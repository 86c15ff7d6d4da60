"""The edge between the referee and the journal: decisions are written once, then replayed.

What the journal holds is never decided again: a cell that was stopped stays stopped, and a
retrained stretch meets the decisions of the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tune_app.journal.journal import Journal
from tune_app.journal.records import Decision, Observation
from tune_app.stopping.curves import Curves
from tune_app.stopping.referee import Referee
from tune_app.stopping.rule import Rule


class RecordingReferee:
    """A referee that writes to a journal, and remembers what the journal remembers.

    Args:
        journal: where observations and decisions go; what it holds already fills the rules'
            memory, in the order of arrival.
        rules: as the referee takes them.
        write: makes a write to the journal, again where it has to wait for room on the disk.
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
        curves = Curves(journal.cells(), baseline=journal.sweep().baseline)
        self._referee = Referee(rules, curves)
        for observation in journal.observations():
            self._referee.feed(observation)

    @property
    def curves(self) -> Curves:
        """The observations so far."""
        return self._referee.curves

    def judge(self, observation: Observation) -> tuple[Decision | None, bool]:
        """Decides, and writes observation and decision as one.

        Returns:
            The decision, None to go on without remark; and whether the observation was new.
        """
        known, earlier = self._journal.replay(observation)
        if known:
            return earlier, False
        decision = self._referee.feed(observation)
        # Only the write is repeated: a rung counts an arrival once.
        self._write(lambda: self._journal.record(observation, decision))
        return decision, True
