"""The report of a sweep over HTTP, made anew from its journal when that has changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tune_app import formats
from tune_app.journal.journal import Journal
from tune_app.results.plots.all_plots import draw, png
from tune_app.results.report import Picture, report_page
from tune_app.results.summary import summarise
from tune_app.sweep.folder import JOURNAL

LOOPBACK = "127.0.0.1"
REFRESH = 30
"""Seconds after which a browser asks again while the sweep runs."""
_FEWEST_SECONDS = 10.0
"""Between two makings of the page, however often it is asked for."""


class LivePage:
    """The page, kept until the journal changes."""

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
        journal = self._folder / JOURNAL
        files = [path for path in (journal, journal.with_name(f"{JOURNAL}-wal")) if path.exists()]
        return tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in files)

    def _make(self) -> str:
        with Journal.open(self._folder / JOURNAL, read_only=True) as journal:
            results, running = summarise(journal), journal.is_driven
        pictures = [
            Picture(name=plot.name, png=png(plot), caption=plot.caption) for plot in draw(results)
        ]
        return report_page(results, pictures, refresh=REFRESH if running else None)


def serve(folder: Path, *, port: int = 0) -> ThreadingHTTPServer:
    """A server of the page, on the loopback interface; it serves once `serve_forever` is called.

    port: 0 for a free one.
    """
    live = LivePage(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = (self.headers.get("Host") or "").rpartition(":")[0]
            if host not in (LOOPBACK, "localhost"):  # a name that leads here from elsewhere
                self._answer(403, b"open it as http://127.0.0.1", "text/plain")
            elif self.path.partition("?")[0] not in ("/", "/report.html"):
                self._answer(404, b"there is only the report, at /", "text/plain")
            else:
                try:
                    self._answer(200, live.page(), "text/html; charset=utf-8")
                except (ValueError, OSError) as error:
                    text = formats.one_line(str(error)).encode()
                    self._answer(503, text, "text/plain; charset=utf-8")

        def _answer(self, code: int, content: bytes, kind: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing: the terminal shows the addresses."""

    server = ThreadingHTTPServer((LOOPBACK, port), Handler)
    server.daemon_threads = True
    return server
