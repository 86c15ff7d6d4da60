"""How a run of a sweep's driver ended, as the journal keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class EndKind(str, Enum):
    """What ended a run of a sweep's driver."""

    COMPLETE = "complete"
    """Nothing: each cell that it had to train has ended."""
    DOLLARS = "dollars"
    """The sweep's dollars, or its cluster's, are spent; the same command goes on later."""
    INTERRUPTION = "interruption"
    """A person, by Ctrl-C or another signal."""
    LOST = "lost"
    """The baseline diverged or failed, or a cell whose failure was to end the sweep; or the GPU was
    lost on which the test split was scored."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run of a sweep ended."""

    kind: EndKind
    reason: str
    """For people."""

    def __str__(self) -> str:
        return f"paused: {self.reason}" if self.kind is EndKind.DOLLARS else self.reason


COMPLETE = Ending(kind=EndKind.COMPLETE, reason="")
CTRL_C = Ending(kind=EndKind.INTERRUPTION, reason="interrupted")
TERMINATED = Ending(kind=EndKind.INTERRUPTION, reason="terminated")
"""By a signal other than Ctrl-C's."""
