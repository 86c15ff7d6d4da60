"""Listeners to a running sweep: the terminal's view, the Optuna study, TensorBoard, W&B.

They are called in the driver, one call at a time, after the event is in the journal. They only
display; everything they show can be drawn again from the journal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from tune_app.dollars.limit import Spending
from tune_app.journal.journal import Journal
from tune_app.journal.records import CellRecord, Decision, Failure, Observation

logger = logging.getLogger(__name__)


class SweepListener(Protocol):
    """Receives the events of one sweep."""

    def sweep_started(self, journal: Journal) -> None:
        """Before the first trial; a continued sweep's journal already holds earlier records."""

    def cell_started(self, cell: CellRecord) -> None:
        """A worker started the cell, for the first time or again."""

    def progressed(self, cell: CellRecord, tokens: int) -> None:
        """A running cell has trained `tokens` of its own tokens; called every second or two."""

    def observed(self, observation: Observation, decision: Decision | None) -> None:
        """A new observation and its decision; not called for repeats after a resume."""

    def promoted(self, decision: Decision) -> None:
        """A paused cell goes on, and is started once there is room."""

    def cell_failed(self, failure: Failure) -> None:
        """An attempt ended in an error."""

    def paid(self, spending: Spending) -> None:
        """What the sweep has cost until now; called every few seconds if anything has a price."""

    def ending(self, reason: str) -> None:
        """A signal asked the sweep to end early; its cells are saved now, which takes seconds.

        Called from a thread of its own, perhaps during another call.
        """

    def sweep_ended(self) -> None:
        """After the last trial, or when the sweep is interrupted."""


class QuietListener:
    """Does nothing: a base class for listeners that need only some of the events."""

    def sweep_started(self, journal: Journal) -> None: ...

    def cell_started(self, cell: CellRecord) -> None: ...

    def progressed(self, cell: CellRecord, tokens: int) -> None: ...

    def observed(self, observation: Observation, decision: Decision | None) -> None: ...

    def promoted(self, decision: Decision) -> None: ...

    def cell_failed(self, failure: Failure) -> None: ...

    def paid(self, spending: Spending) -> None: ...

    def ending(self, reason: str) -> None: ...

    def sweep_ended(self) -> None: ...


class Broadcast:
    """Passes events on to several listeners. One that fails is logged and dropped."""

    def __init__(self, listeners: Iterable[SweepListener]) -> None:
        self._listeners = list(listeners)

    def sweep_started(self, journal: Journal) -> None:
        self._tell(lambda listener: listener.sweep_started(journal))

    def cell_started(self, cell: CellRecord) -> None:
        self._tell(lambda listener: listener.cell_started(cell))

    def progressed(self, cell: CellRecord, tokens: int) -> None:
        self._tell(lambda listener: listener.progressed(cell, tokens))

    def observed(self, observation: Observation, decision: Decision | None) -> None:
        self._tell(lambda listener: listener.observed(observation, decision))

    def promoted(self, decision: Decision) -> None:
        self._tell(lambda listener: listener.promoted(decision))

    def cell_failed(self, failure: Failure) -> None:
        self._tell(lambda listener: listener.cell_failed(failure))

    def paid(self, spending: Spending) -> None:
        self._tell(lambda listener: listener.paid(spending))

    def ending(self, reason: str) -> None:
        self._tell(lambda listener: listener.ending(reason))

    def sweep_ended(self) -> None:
        self._tell(lambda listener: listener.sweep_ended())

    def _tell(self, call: Callable[[SweepListener], None]) -> None:
        for listener in list(self._listeners):
            try:
                call(listener)
            except Exception:
                name = type(listener).__name__
                logger.exception("%s failed and is switched off; the sweep continues", name)
                self._listeners.remove(listener)
