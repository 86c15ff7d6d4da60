"""The report of a sweep, made anew from its journal when that has changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from tune_app.journal.journal import Journal
from tune_app.results.plots.all_plots import draw, png
from tune_app.results.report import Picture, report_page
from tune_app.results.summary import summarise
from tune_app.sweep.folder import JOURNAL

_FEWEST_SECONDS = 10.0
"""Between two makings of the page, however often it is asked for."""


class LivePage:
    """The page, kept until the journal changes."""

    REFRESH = 30
    """Seconds after which a browser asks again while the sweep runs."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._made_at = -_FEWEST_SECONDS
        self._made_of: tuple[tuple[int, int], ...] = ()
        self._page = b""

    def page(self) -> bytes:
        """The page as it is now. Raises JournalError if the journal cannot be read."""
        with self._lock:
            now, state = self._clock(), self._state()
            if state != self._made_of and now - self._made_at >= _FEWEST_SECONDS:
                self._page = self._make().encode()
                self._made_at, self._made_of = now, state
            return self._page

    def _state(self) -> tuple[tuple[int, int], ...]:
        logs = [path.with_name(f"{JOURNAL}-wal") for path in self._journals()]
        files = [path for path in (*self._journals(), *logs) if path.exists()]
        return tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in files)

    def _journals(self) -> list[Path]:
        """What the page is made of."""
        return [self._folder / JOURNAL]

    def _make(self) -> str:
        with Journal.open(self._folder / JOURNAL, read_only=True) as journal:
            results, running = summarise(journal), journal.is_driven
        pictures = [
            Picture(name=plot.name, png=png(plot), caption=plot.caption) for plot in draw(results)
        ]
        return report_page(results, pictures, refresh=self.REFRESH if running else None)
