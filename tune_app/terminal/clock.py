"""Tracks when things happened in this run of a sweep, to estimate the time left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tune_app.journal.records import CellRecord, Status
from tune_app.terminal.eta import (
    Pace,
    Running,
    cell_seconds_left,
    measured_pace,
    pooled,
    sweep_seconds_left,
)
from tune_app.terminal.progress import SweepProgress


@dataclass
class _Heard:
    """When a cell in a slot last reported, and what."""

    began: float
    last: float
    first_trained: tuple[float, int] | None = None
    """The first report of tokens in this run: (time, baseline tokens)."""


class SweepClock:
    """Estimates the seconds left from the times of events.

    Args:
        clock: monotonic seconds.
        cells_at_once: number of slots; None: the largest number of cells seen running together.
    """

    def __init__(self, *, clock: Callable[[], float], cells_at_once: int | None) -> None:
        self._clock = clock
        self._slots = cells_at_once or 1
        self._began = clock()
        self._heard: dict[str, _Heard] = {}

    @property
    def elapsed(self) -> float:
        return self._clock() - self._began

    def started(self, cell: str) -> None:
        self._heard[cell] = _Heard(began=self._clock(), last=self._clock())

    def advanced(self, progress: SweepProgress, cell: CellRecord) -> None:
        """A cell reported its tokens; `progress` has been updated already."""
        heard = self._heard[cell.key]
        heard.last = self._clock()
        if heard.first_trained is None:
            heard.first_trained = (heard.last, progress.tokens(cell))

    def observed(self, cell: str) -> None:
        if cell in self._heard:
            self._heard[cell].last = self._clock()

    def tokens_per_second(self, progress: SweepProgress, cell: CellRecord) -> float | None:
        """Training throughput reported by the cell; before its first report, measured here."""
        if (last := progress.last(cell)) is not None:
            return last.tokens_per_second
        pace = self._pace(progress, cell)
        return 1 / pace.per_token if pace and pace.per_token > 0 else None

    def cell_left(self, progress: SweepProgress, cell: CellRecord) -> float | None:
        """Seconds until a running cell has trained all its tokens; None before any measurement."""
        running, pace = self._running(progress, cell), self._pooled(progress)
        if pace is None:
            return None
        return cell_seconds_left(running, tokens=progress.sweep.tokens, pace=pace)

    def sweep_left(self, progress: SweepProgress) -> float | None:
        """Seconds until the last cell ends; None before any measurement."""
        # One that is trained has no slot any more, though its model is still being stored.
        running = [
            self._running(progress, cell)
            for cell in progress.with_status(Status.RUNNING)
            if progress.share(cell) < 1
        ]
        self._slots = max(self._slots, len(running))
        return sweep_seconds_left(
            tokens=progress.sweep.tokens,
            slots=self._slots,
            running=running,
            waiting=[
                *(progress.share(cell) for cell in progress.with_status(Status.PENDING)),
                *[0.0] * progress.to_come,
            ],
            ended=[
                progress.share(cell)
                for cell in progress.with_status(Status.FINISHED, Status.STOPPED, Status.PAUSED)
            ],
            pace=self._pooled(progress),
        )

    def _running(self, progress: SweepProgress, cell: CellRecord) -> Running:
        heard = self._heard.get(cell.key)
        return Running(
            share=progress.share(cell),
            since=self._clock() - heard.last if heard else 0.0,
            pace=self._pace(progress, cell),
        )

    def _pooled(self, progress: SweepProgress) -> Pace | None:
        return pooled(
            [pace for cell in progress.cells if (pace := self._pace(progress, cell)) is not None]
        )

    def _pace(self, progress: SweepProgress, cell: CellRecord) -> Pace | None:
        """The pace that the cell reported; before its first report, the one measured here."""
        if (last := progress.last(cell)) is not None:
            return measured_pace(last)
        heard = self._heard.get(cell.key)
        if heard is None or heard.first_trained is None:
            return None
        at, tokens = heard.first_trained
        trained = progress.tokens(cell) - tokens
        if trained <= 0 or heard.last <= at:
            return None
        return Pace(fixed=at - heard.began, per_token=(heard.last - at) / trained, tokens=trained)
