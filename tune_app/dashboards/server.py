"""The live pages over HTTP, on the loopback interface alone."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tune_app import formats
from tune_app.dashboards.live_report import LivePage
from tune_app.dashboards.live_study import StudyPage
from tune_app.dashboards.shown import is_study, phases_in

LOOPBACK = "127.0.0.1"
_PAGE = "report.html"


class Pages:
    """The pages of a folder by their path: the sweep's, or the study's and those of its phases."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._main = StudyPage(folder) if is_study(folder) else LivePage(folder)
        self._phases: dict[str, LivePage] = {}

    def at(self, path: str) -> LivePage | None:
        """The page of a path; None if there is none."""
        if path in ("/", f"/{_PAGE}"):
            return self._main
        if not isinstance(self._main, StudyPage):
            return None
        with self._lock:
            for phase in phases_in(self._folder):
                if path == f"/{phase.name}/{_PAGE}":
                    return self._phases.setdefault(phase.name, LivePage(phase))
        return None


def serve(folder: Path, *, port: int = 0) -> ThreadingHTTPServer:
    """A server of the pages, on the loopback interface; it serves once `serve_forever` is called.

    port: 0 for a free one.
    """
    pages = Pages(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = (self.headers.get("Host") or "").rpartition(":")[0]
            if host not in (LOOPBACK, "localhost"):  # a name that leads here from elsewhere
                self._answer(403, b"open it as http://127.0.0.1", "text/plain")
            elif (live := pages.at(self.path.partition("?")[0])) is None:
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
