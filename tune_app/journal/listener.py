"""Who wants to hear of a sweep while it runs: the terminal's view, the study, TensorBoard, W&B.

Listeners hear of a thing after the journal has it, in the driver's process, one call at a time.
They show; they decide nothing. Whatever one of them draws can be drawn again from the journal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from tune_app.journal.journal import Journal
from tune_app.journal.records import CellRecord, Decision, Failure, Observation

logger = logging.getLogger(__name__)


class SweepListener(Protocol):
    """Hears what happens to the cells of one sweep."""

    def sweep_started(self, journal: Journal) -> None:
        """Before the first trial; a continued sweep's journal already holds earlier records."""

    def cell_started(self, cell: CellRecord) -> None:
        """A worker took the cell up, for the first time or again."""

    def progressed(self, cell: CellRecord, tokens: int) -> None:
        """A running cell has trained so many of its own tokens; every second or two."""

    def observed(self, observation: Observation, decision: Decision | None) -> None:
        """A new observation and what was decided on it; replays are not repeated here."""

    def cell_failed(self, failure: Failure) -> None:
        """An attempt ended in an error."""

    def sweep_ended(self) -> None:
        """After the last trial, or when the sweep is interrupted."""


class QuietListener:
    """Hears everything and does nothing: a base for listeners that care about a part."""

    def sweep_started(self, journal: Journal) -> None: ...

    def cell_started(self, cell: CellRecord) -> None: ...

    def progressed(self, cell: CellRecord, tokens: int) -> None: ...

    def observed(self, observation: Observation, decision: Decision | None) -> None: ...

    def cell_failed(self, failure: Failure) -> None: ...

    def sweep_ended(self) -> None: ...


class Broadcast:
    """Tells several listeners. One that fails is logged and heard no more; the sweep goes on."""

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

    def cell_failed(self, failure: Failure) -> None:
        self._tell(lambda listener: listener.cell_failed(failure))

    def sweep_ended(self) -> None:
        self._tell(lambda listener: listener.sweep_ended())

    def _tell(self, call: Callable[[SweepListener], None]) -> None:
        for listener in list(self._listeners):
            try:
                call(listener)
            except Exception:
                name = type(listener).__name__
                logger.exception("%s failed and is switched off; the sweep goes on", name)
                self._listeners.remove(listener)
