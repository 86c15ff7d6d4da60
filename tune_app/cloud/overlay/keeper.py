"""Ends links that must not stay: stale ones when their worker dials again, and revoked ones.

A session that lost its worker keeps the worker's ports until the SSH server notices, and no new one
can have them. So a worker rings first: it opens a port at the head's address which no other
worker's key may open, and is told `ok` when its ports are free.

Only root sees and ends the SSH server's sessions; nothing here needs a secret.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from tune_app.cloud.overlay.addresses import HEAD, Ports, address
from tune_app.cloud.overlay.links import links
from tune_app.cloud.overlay.settings import OverlaySettings

logger = logging.getLogger(__name__)


class Keeper:
    """Answers the bells, and looks for links of workers that are let in no more.

    Args:
        end: ends a worker's link and returns when its ports are free; raises OSError.
        allowed: who is let in now; raises OSError where that is not known.

    Raises OSError where a bell's port is taken.
    """

    def __init__(
        self,
        settings: OverlaySettings,
        *,
        end: Callable[[int], object],
        allowed: Callable[[], Iterable[int]],
        workers: Iterable[int] | None = None,
    ) -> None:
        self._settings = settings
        self._end = end
        self._allowed = allowed
        self._bells: dict[socket.socket, int] = {}
        with ExitStack() as stack:
            for k in settings.workers if workers is None else workers:
                settings.check_worker(k)
                bell = stack.enter_context(socket.socket())
                bell.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                bell.bind((address(HEAD, settings.network), Ports(k).bell))
                bell.listen(8)
                bell.setblocking(False)
                self._bells[bell] = k
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Listens no more; links stay."""
        self._stack.close()

    def run(self, ended: threading.Event, *, every_s: float = 1.0) -> None:
        """Works until `ended` is set."""
        with selectors.DefaultSelector() as selector:
            for bell in self._bells:
                selector.register(bell, selectors.EVENT_READ)
            while not ended.is_set():
                for key, _ in selector.select(every_s):
                    assert isinstance(key.fileobj, socket.socket)
                    self._answer(key.fileobj)
                self.end_revoked()

    def end_revoked(self) -> None:
        """Ends the links of workers whose keys are revoked: an open one outlives its key."""
        try:
            for k in sorted(links(self._settings).open - set(self._allowed())):
                logger.info("worker %d is let in no more", k)
                self._end(k)
        except OSError as error:
            logger.warning("links of revoked workers may be open: %s", error)

    def _answer(self, bell: socket.socket) -> None:
        k = self._bells[bell]
        try:
            connection, _ = bell.accept()
        except OSError:  # who rang has left
            return
        with connection:
            try:
                self._end(k)
                connection.settimeout(1.0)
                connection.sendall(b"ok\n")
            except OSError as error:
                logger.warning("worker %d's last link is not ended: %s", k, error)
