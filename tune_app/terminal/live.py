"""A running sweep on a terminal, and in a file.

On a terminal a region at the bottom is redrawn: one line for the sweep, a table of the running
cells, the best finished ones. Whatever is decided is printed above it and stays. Where the output
is no terminal only those lines are printed, without colour.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from tune_app.journal import Journal
from tune_app.listener import QuietListener, SweepListener
from tune_app.records import Action, CellRecord, Decision, Failure, Observation, Status
from tune_app.terminal import formats, sentences
from tune_app.terminal.columns import Column, FittingTable
from tune_app.terminal.eta import (
    Pace,
    Running,
    cell_seconds_left,
    measured_pace,
    sweep_seconds_left,
)
from tune_app.terminal.progress import SweepProgress

_BAR_WIDTH = 10
_BEST = 3
_REFRESHES_PER_SECOND = 2.0


def view_for(console: Console, *, cells_at_once: int | None = None) -> SweepListener:
    """The view that suits the console: live on a terminal, plain lines in a file or a pipe."""
    view = LiveView if console.is_interactive else PlainView
    return view(console, cells_at_once=cells_at_once)


class SweepClock:
    """When things happened in this run of the sweep, and so how long the rest will take.

    Args:
        clock: monotonic seconds.
        cells_at_once: slots; None takes the most cells that have been running together.
    """

    def __init__(self, *, clock: Callable[[], float], cells_at_once: int | None) -> None:
        self._clock = clock
        self._slots = cells_at_once or 1
        self._began = clock()
        self._heard: dict[str, float] = {}

    @property
    def elapsed(self) -> float:
        return self._clock() - self._began

    def heard_of(self, cell: str) -> None:
        """The cell was started, or reported."""
        self._heard[cell] = self._clock()

    def cell_left(self, progress: SweepProgress, cell: CellRecord) -> float | None:
        """Seconds until a running cell has trained all its tokens; None before any measurement."""
        running, pace = self._running(progress, cell), _pooled_pace(progress)
        if pace is None:
            return None
        return cell_seconds_left(running, tokens=progress.sweep.tokens, pace=pace)

    def sweep_left(self, progress: SweepProgress) -> float | None:
        """Seconds until the last cell ends; None before any measurement."""
        running = [self._running(progress, cell) for cell in progress.with_status(Status.RUNNING)]
        self._slots = max(self._slots, len(running))
        return sweep_seconds_left(
            tokens=progress.sweep.tokens,
            slots=self._slots,
            running=running,
            waiting=[progress.share(cell) for cell in progress.with_status(Status.PENDING)],
            ended=[
                progress.share(cell)
                for cell in progress.with_status(Status.FINISHED, Status.STOPPED)
            ],
            pace=_pooled_pace(progress),
        )

    def _running(self, progress: SweepProgress, cell: CellRecord) -> Running:
        last = progress.last(cell)
        return Running(
            share=progress.share(cell),
            since=self._clock() - self._heard.get(cell.key, self._clock()),
            pace=measured_pace([last]) if last else None,
        )


class _View(QuietListener):
    """What both views do: keep the state, and say what ends a cell."""

    def __init__(
        self,
        console: Console,
        *,
        cells_at_once: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._cells_at_once = cells_at_once
        self._now = clock
        # The live region is redrawn by a thread of its own.
        self._lock = threading.RLock()
        self._progress: SweepProgress | None = None
        self._clock = SweepClock(clock=clock, cells_at_once=cells_at_once)

    @property
    def progress(self) -> SweepProgress:
        assert self._progress is not None, "the sweep has not started"
        return self._progress

    def sweep_started(self, journal: Journal) -> None:
        with self._lock:
            self._progress = SweepProgress.read(journal)
            self._progress.resume()
            self._clock = SweepClock(clock=self._now, cells_at_once=self._cells_at_once)
        self._say(sentences.started(self.progress))

    def cell_started(self, cell: CellRecord) -> None:
        with self._lock:
            self.progress.start(cell)
            self._clock.heard_of(cell.key)

    def observed(self, observation: Observation, decision: Decision | None) -> None:
        with self._lock:
            self.progress.observe(observation, decision)
            self._clock.heard_of(observation.cell)
            if decision is None or decision.action is Action.CONTINUE:
                return
            line = sentences.decided(self.progress, observation, decision)
        self._say(line)

    def cell_failed(self, failure: Failure) -> None:
        with self._lock:
            self.progress.fail(failure)
            line = sentences.failed(self.progress, failure)
        self._say(line)

    def _say(self, line: Text) -> None:
        raise NotImplementedError


class PlainView(_View):
    """One line for each cell that ends and each failure; no colour, nothing redrawn."""

    def _say(self, line: Text) -> None:
        with self._lock:
            progress = self.progress
            left = self._clock.sweep_left(progress)
            over = f"{len(progress.over())}/{len(progress.cells)}"
        about = f", about {formats.duration(left)} left" if left else ""
        self._console.print(
            Text(f"[{over}{about}] {line.plain}"), soft_wrap=True, highlight=False, style=None
        )


class LiveView(_View):
    """The sweep on a terminal, redrawn twice a second."""

    def __init__(
        self,
        console: Console,
        *,
        cells_at_once: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(console, cells_at_once=cells_at_once, clock=clock)
        self._live: Live | None = None

    def sweep_started(self, journal: Journal) -> None:
        super().sweep_started(journal)
        self._live = Live(
            console=self._console,
            get_renderable=self.render,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
        )
        self._live.start()

    def sweep_ended(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _say(self, line: Text) -> None:
        self._console.print(line, highlight=False)

    def render(self) -> RenderableType:
        """The live region as it is now. Called from the thread that redraws it, too."""
        with self._lock:
            if self._progress is None:
                return Text()
            return Group(
                Text(),
                self._head(self._progress),
                *self._running(self._progress),
                *self._best(self._progress),
            )

    def _head(self, progress: SweepProgress) -> Text:
        return Text.assemble(
            (formats.one_line(progress.sweep.name), "bold"),
            (f"  {len(progress.cells)} cells: ", ""),
            progress.counts(),
            (f"  {formats.duration(self._clock.elapsed)}", "cyan"),
            (f", about {formats.duration(self._clock.sweep_left(progress))} left", "cyan"),
        )

    def _running(self, progress: SweepProgress) -> list[RenderableType]:
        running = progress.with_status(Status.RUNNING)
        if not running:
            return []
        # Above: a free line and two for the sweep; below: the best, and the cursor's line.
        room = max(1, self._console.height - 3 - (_BEST + 3) - 1)
        shown = running if len(running) <= room else running[: room - 1]
        parts: list[RenderableType] = [Text(), self._running_table(progress, shown)]
        if len(running) > len(shown):
            parts.append(Text(f"and {len(running) - len(shown)} more running", style="dim"))
        return parts

    def _running_table(self, progress: SweepProgress, cells: list[CellRecord]) -> FittingTable:
        last = [progress.last(cell) for cell in cells]
        total = progress.sweep.tokens
        return FittingTable(
            columns=[
                Column(
                    header="running",
                    cells=[Text(formats.one_line(cell.label)) for cell in cells],
                    rank=0,
                    right=False,
                    shortened=True,
                ),
                Column(
                    header="tokens",
                    cells=[Text(formats.progress(progress.tokens(cell), total)) for cell in cells],
                    rank=1,
                ),
                Column(
                    header="",
                    cells=[_bar(progress.share(cell)) for cell in cells],
                    rank=7,
                    right=False,
                ),
                Column(
                    header="dev bpb",
                    cells=[
                        Text(formats.bits_per_byte(point.bits_per_byte if point else None))
                        for point in last
                    ],
                    rank=2,
                ),
                Column(
                    header="ppl",
                    cells=[
                        Text(formats.perplexity(point.perplexity if point else None))
                        for point in last
                    ],
                    rank=5,
                ),
                Column(
                    header="gap bpb",
                    cells=[sentences.gap_text(progress, cell) for cell in cells],
                    rank=3,
                ),
                Column(
                    header="tok/s",
                    cells=[
                        Text(formats.count(point.tokens_per_second if point else None))
                        for point in last
                    ],
                    rank=6,
                ),
                Column(
                    header="left",
                    cells=[
                        Text(formats.duration(self._clock.cell_left(progress, cell)))
                        for cell in cells
                    ],
                    rank=4,
                ),
            ]
        )

    def _best(self, progress: SweepProgress) -> list[RenderableType]:
        best = progress.ranked()[:_BEST]
        if not best:
            return []
        return [
            Text(),
            FittingTable(
                columns=[
                    Column(
                        header="best finished",
                        cells=[Text(formats.one_line(cell.label)) for cell, _ in best],
                        rank=0,
                        right=False,
                        shortened=True,
                    ),
                    Column(
                        header="whole dev bpb",
                        cells=[
                            Text(formats.bits_per_byte(last.whole_bits_per_byte))
                            for _, last in best
                        ],
                        rank=1,
                    ),
                    Column(
                        header="ppl",
                        cells=[Text(formats.perplexity(last.whole_perplexity)) for _, last in best],
                        rank=3,
                    ),
                    Column(
                        header="gap bpb",
                        cells=[sentences.gap_text(progress, cell) for cell, _ in best],
                        rank=2,
                    ),
                ]
            ),
        ]


def _bar(share: float) -> Text:
    full = round(share * _BAR_WIDTH)
    return Text.assemble(("━" * full, "cyan"), ("━" * (_BAR_WIDTH - full), "bright_black"))


def _pooled_pace(progress: SweepProgress) -> Pace | None:
    return measured_pace(last for cell in progress.cells if (last := progress.last(cell)))
