"""Shows a running sweep on a terminal or in a file.

On a terminal, a region at the bottom is redrawn: one line for the sweep, a table of the running
cells, the best finished ones. Decisions are printed above it and stay. Otherwise each end of a
cell is printed as a line, and after a quiet minute the progress of the running cells.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from tune_app import formats
from tune_app.dollars.limit import Spending, dollars
from tune_app.journal.journal import Journal
from tune_app.journal.listener import QuietListener, SweepListener
from tune_app.journal.records import Action, CellRecord, Decision, Failure, Observation, Status
from tune_app.terminal import sentences
from tune_app.terminal.clock import SweepClock
from tune_app.terminal.columns import Column, FittingTable
from tune_app.terminal.progress import SweepProgress
from tune_app.terminal.sentences import Sentence

_BAR_WIDTH = 10
_BEST = 3
_REFRESHES_PER_SECOND = 2.0
_QUIET_S = 60.0
"""Seconds without a line after which the progress of the running cells is printed."""


def view_for(console: Console, *, cells_at_once: int | None = None) -> SweepListener:
    """The view that suits the console: live on a terminal, plain lines in a file or a pipe."""
    view = LiveView if console.is_interactive else PlainView
    return view(console, cells_at_once=cells_at_once)


class _View(QuietListener):
    """Common to both views: keep the state, and print decisions and failures."""

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
        # A separate thread redraws the live region.
        self._lock = threading.RLock()
        self._progress: SweepProgress | None = None
        self._spending: Spending | None = None
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

    def cell_started(self, cell: CellRecord) -> None:
        with self._lock:
            self.progress.start(cell)
            self._clock.started(cell.key)

    def progressed(self, cell: CellRecord, tokens: int) -> None:
        with self._lock:
            self.progress.advance(cell, tokens)
            self._clock.advanced(self.progress, cell)

    def observed(self, observation: Observation, decision: Decision | None) -> None:
        with self._lock:
            self.progress.observe(observation, decision)
            self._clock.observed(observation.cell)
        if decision is not None:
            self._decided(observation, decision)

    def promoted(self, decision: Decision) -> None:
        with self._lock:
            self.progress.promote(decision)

    def cell_failed(self, failure: Failure) -> None:
        with self._lock:
            self.progress.fail(failure)
            line = sentences.failed(self.progress, failure)
        self._say(line)

    def paid(self, spending: Spending) -> None:
        with self._lock:
            self._spending = spending

    def _dollars(self) -> str:
        """What is spent, and what it may come to; empty if nothing has a price."""
        if self._spending is None:
            return ""
        text = f", {dollars(self._spending.spent)} so far"
        if self._spending.head:
            text += f" ({dollars(self._spending.head)} for the head)"
        if (left := self._clock.sweep_left(self.progress)) is not None:
            text += f", about {dollars(self._spending.in_all(left))} in all"
        if self._spending.limit is not None:
            text += f" of {dollars(self._spending.limit)}"
        return text

    def ending(self, reason: str) -> None:
        with self._lock:
            line = sentences.ending(self.progress, reason)
        self._say(line)

    def _decided(self, observation: Observation, decision: Decision) -> None:
        self._say(sentences.decided(self.progress, observation, decision))

    def _say(self, line: Sentence) -> None:
        raise NotImplementedError


class PlainView(_View):
    """Plain lines: the end of each cell, each failure, and progress after a quiet minute."""

    _said_at = 0.0

    def sweep_started(self, journal: Journal) -> None:
        super().sweep_started(journal)
        self._said_at = self._now()

    def progressed(self, cell: CellRecord, tokens: int) -> None:
        super().progressed(cell, tokens)
        if self._now() - self._said_at >= _QUIET_S:
            with self._lock:
                line = sentences.training(self.progress)
            self._say(line)

    def _decided(self, observation: Observation, decision: Decision) -> None:
        if decision.action is not Action.CONTINUE:
            super()._decided(observation, decision)

    def _say(self, line: Sentence) -> None:
        with self._lock:
            self._said_at = self._now()
            progress = self.progress
            left = self._clock.sweep_left(progress)
            over = "/".join(map(str, progress.over()))
            money = self._dollars()
        about = f", about {formats.duration(left)} left" if left else ""
        text = f"[{over}{about}{money}] {line.what.plain} {line.text.plain}"
        self._console.print(Text(text), soft_wrap=True)


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

    def _say(self, line: Sentence) -> None:
        self._console.print(sentences.below_each_other([line]))

    def render(self) -> RenderableType:
        """The current live region. Also called from the thread that redraws it."""
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
        left = formats.duration(self._clock.sweep_left(progress))
        times = f"{formats.duration(self._clock.elapsed)}, about {left} left{self._dollars()}"
        counts = f"{len(progress.cells)} cells: {progress.counts()}"
        if round_text := progress.round_text:
            counts = f"{round_text}, {counts}"
        name = formats.one_line(progress.sweep.name)
        one_line = len(name) + len(counts) + len(times) + 5 <= self._console.width
        return Text.assemble(
            (name, "bold"),
            "  ",
            (times, "cyan"),
            " · " if one_line else "\n",
            counts,
            *([(f"\ncells are named by {title}", "dim")] if (title := progress.title) else []),
        )

    def _running(self, progress: SweepProgress) -> list[RenderableType]:
        running = progress.with_status(Status.RUNNING)
        if not running:
            return []
        # Above: a blank line and three for the sweep. Below: the best cells, two lines, the cursor.
        room = max(2, self._console.height - 4 - (_BEST + 3) - 1)
        shown = running if len(running) <= room else running[: room - 1]
        parts: list[RenderableType] = [Text(), self._running_table(progress, shown)]
        if len(running) > len(shown):
            parts.append(Text(f"and {len(running) - len(shown)} more running", style="dim"))
        return parts

    def _running_table(self, progress: SweepProgress, cells: list[CellRecord]) -> FittingTable:
        clock, last = self._clock, [progress.last(cell) for cell in cells]
        return FittingTable(
            columns=[
                Column.names("running", [cell.label for cell in cells]),
                Column.numbers("tokens", [_tokens(progress, cell) for cell in cells], rank=1),
                Column.numbers("", [_bar(progress.share(cell)) for cell in cells], rank=7),
                Column.numbers(
                    "dev bpb",
                    [
                        formats.bits_per_byte(point.bits_per_byte if point else None)
                        for point in last
                    ],
                    rank=2,
                ),
                Column.numbers(
                    "ppl",
                    [formats.perplexity(point.perplexity if point else None) for point in last],
                    rank=5,
                ),
                Column.numbers(
                    "gap bpb",
                    [sentences.gap_text(progress, cell, progress.gap(cell)) for cell in cells],
                    rank=3,
                ),
                Column.numbers(
                    "tok/s",
                    [formats.count(clock.tokens_per_second(progress, cell)) for cell in cells],
                    rank=6,
                ),
                Column.numbers(
                    "left",
                    [formats.duration(clock.cell_left(progress, cell)) for cell in cells],
                    rank=4,
                ),
            ]
        )

    def _best(self, progress: SweepProgress) -> list[RenderableType]:
        best = progress.ranked()[:_BEST]
        if not best:
            return []
        last = [progress.last(cell) for cell in best]
        table = FittingTable(
            columns=[
                Column.names("leading", [cell.label for cell in best]),
                Column.numbers(
                    "full dev bpb",
                    [formats.bits_per_byte(progress.score(cell)) for cell in best],
                    rank=1,
                ),
                Column.numbers(
                    "ppl",
                    [
                        formats.perplexity(point.full_perplexity if point else None)
                        for point in last
                    ],
                    rank=3,
                ),
                Column.numbers(
                    "gap bpb",
                    [sentences.gap_text(progress, cell, progress.final_gap(cell)) for cell in best],
                    rank=2,
                ),
            ]
        )
        return [Text(), table]


def _tokens(progress: SweepProgress, cell: CellRecord) -> Text:
    tokens = progress.tokens(cell)
    if tokens == 0:
        return Text("starting", style="dim")
    return Text(formats.progress(tokens, progress.sweep.tokens))


def _bar(share: float) -> Text:
    full = round(share * _BAR_WIDTH)
    return Text.assemble(("━" * full, "cyan"), ("·" * (_BAR_WIDTH - full), "bright_black"))
