"""How a run of a sweep ended."""

from __future__ import annotations

from dataclasses import dataclass

from tune_app.command_line import INTERRUPTED, OUT_OF_DOLLARS
from tune_app.journal.endings import Ending, EndKind
from tune_app.journal.records import Status


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of a run of a sweep, which may leave cells to be trained by another one."""

    statuses: tuple[Status, ...]
    """Of every cell, in the sweep's order."""
    ending: Ending | None
    """What ended the run before its cells had; None if nothing did."""
    rounds_left: int = 0
    """Rounds of a search that are still to be proposed."""
    scores_left: bool = False
    """Whether the scoring on the test split ended early: the same command goes on with it."""

    @property
    def complete(self) -> bool:
        """Whether every cell has ended as it was meant to, and what is to be scored is."""
        ended = all(status.ended for status in self.statuses)
        return ended and not self.rounds_left and not self.scores_left

    @property
    def ended_by(self) -> str | None:
        """Why something is left to be done; None if nothing is."""
        return None if self.complete or self.ending is None else str(self.ending)

    @property
    def interrupted(self) -> bool:
        """Whether a person ended the run before everything was done."""
        return self._left_by(EndKind.INTERRUPTION)

    @property
    def paused(self) -> bool:
        """Whether it ended because dollars are spent; the same command goes on later."""
        return self._left_by(EndKind.DOLLARS)

    @property
    def exit_code(self) -> int:
        """0 if everything is done, 130 after an interruption, 75 if dollars are spent, else 1."""
        if self.complete:
            return 0
        if self.paused:
            return OUT_OF_DOLLARS
        return INTERRUPTED if self.interrupted else 1

    def _left_by(self, kind: EndKind) -> bool:
        return not self.complete and self.ending is not None and self.ending.kind is kind
