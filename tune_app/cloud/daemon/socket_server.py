"""The daemon's Unix socket: who may open it, how many at once, one line of JSON for another."""

from __future__ import annotations

import logging
import os
import shutil
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tune_app.cloud.daemon.protocol import (
    MAXIMUM_ANSWER,
    MAXIMUM_REQUEST,
    DaemonError,
    decode,
    encode,
    error_message,
)
from tune_app.cloud.daemon.socket_peer import peer_user, refuse_to_open

MAXIMUM_CONNECTIONS = 32
IDLE_S = 30.0

Answer = Callable[[dict[str, Any]], Any]
"""Answers a request; raises the classes of `errors`, and ValueError for an invalid request."""

logger = logging.getLogger(__name__)


class SocketServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = MAXIMUM_CONNECTIONS

    def __init__(self, path: Path, answer: Answer) -> None:
        self.answer = answer
        self._free = threading.BoundedSemaphore(MAXIMUM_CONNECTIONS)
        super().__init__(str(path), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()


class _Handler(socketserver.StreamRequestHandler):
    timeout = IDLE_S

    def handle(self) -> None:
        server = self.server
        assert isinstance(server, SocketServer)
        try:
            while line := self.rfile.readline(MAXIMUM_REQUEST):
                if not self._answer(server.answer, line):
                    return
        except OSError as error:  # the client is gone, or silent for too long
            logger.debug("a connection ended: %s", error)

    def _answer(self, answer: Answer, line: bytes) -> bool:
        """Answers one line. Returns whether the stream is still in step for the next."""
        understood = False
        try:
            request = decode(line, MAXIMUM_REQUEST)
            understood = True
            if request.get("op") == "open" and (why := refuse_to_open(peer_user(self.connection))):
                raise ValueError(why)
            reply = encode({"ok": True, "result": answer(request)}, MAXIMUM_ANSWER)
        except (ValueError, OSError) as error:
            reply = encode(error_message(error), MAXIMUM_ANSWER)
        except Exception:
            logger.exception("a bug")
            failed = DaemonError("a bug in the daemon; its log has the traceback")
            reply = encode(error_message(failed), MAXIMUM_ANSWER)
        self.wfile.write(reply)
        return understood


@contextmanager
def listening(path: Path, group: str | None, answer: Answer) -> Iterator[SocketServer]:
    """A server whose socket no other user can open at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The holder of the ledger's lock may remove what the last daemon left.
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        server = SocketServer(path, answer)
    finally:
        os.umask(before)
    try:
        if group is not None:
            try:
                shutil.chown(path, group=group)
            except LookupError:
                raise ValueError(f"there is no group {group!r} on this machine") from None
            path.chmod(0o660)
        with server:
            yield server
    finally:
        path.unlink(missing_ok=True)
