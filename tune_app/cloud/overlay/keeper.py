"""Ends links that must not stay: stale ones when their worker dials again, and revoked ones.

python -m tune_app.cloud.overlay.keeper SETTINGS --folder FOLDER

A session that lost its worker keeps the worker's ports until the SSH server notices, and no new one
can have them. So a worker rings first: it opens a port at the head's address which no other
worker's key may open, and reads `ok` when its ports are free.

It also answers workers' question after the heartbeat, with the seconds since the daemon last said
that it is at work: what their dead man's switches wait for.

Only root sees and ends the SSH server's sessions; nothing here needs a secret.
"""

from __future__ import annotations

import logging
import pwd
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from cyclopts import App

from tune_app.cloud.overlay.addresses import HEAD, Ports, address
from tune_app.cloud.overlay.authorized import AuthorizedKeys
from tune_app.cloud.overlay.heartbeat import Heartbeat
from tune_app.cloud.overlay.links import end_link, links, owner_of
from tune_app.cloud.overlay.settings import OverlaySettings, load_overlay_settings
from tune_app.cloud.overlay.setup import OverlayFiles
from tune_app.command_line import run_command

MODULE = "tune_app.cloud.overlay.keeper"

logger = logging.getLogger(MODULE)  # run as a command, __name__ is another

app = App(name=f"python -m {MODULE}", help_format="plaintext", version_flags=[])


@app.default
def main(settings: Path, *, folder: Path, heartbeat: Path | None = None) -> int:
    """Answer workers' bells and end revoked links until SIGTERM, as root.

    Parameters
    ----------
    settings
        A JSON file: see tune_app/cloud/overlay/settings.py.
    folder
        Folder of the keys that the daemon admits.
    heartbeat
        The file in which the daemon says that it is at work; default: workers hear nothing.
    """
    logging.getLogger("tune_app").setLevel(logging.INFO)
    told = load_overlay_settings(settings)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    authorized = AuthorizedKeys(OverlayFiles(folder.absolute()).authorized(told.link_user))
    sign = None if heartbeat is None else Heartbeat(path=heartbeat)
    keeper = Keeper(
        told,
        end=lambda k: end_link(told, k),
        allowed=authorized.workers,
        ringer=pwd.getpwnam(told.link_user).pw_uid,
        age_s=(lambda: None) if sign is None else sign.age_s,
    )
    try:
        logger.info("answering %d workers' bells", len(told.workers))
        keeper.run(ended)
    finally:
        keeper.close()
    return 0


class Keeper:
    """Answers the bells, and looks for links of workers that are no longer admitted.

    Args:
        end: ends a worker's link and returns when its ports are free; raises OSError.
        allowed: the workers admitted now; raises OSError if unknown.
        ringer: the user as whom workers' sessions run: nobody else's ring is heard. None for all.
        age_s: seconds since the daemon's last sign of life; None if there is none.

    Raises OSError if a bell's port is taken.
    """

    def __init__(
        self,
        settings: OverlaySettings,
        *,
        end: Callable[[int], object],
        allowed: Callable[[], Iterable[int]],
        workers: Iterable[int] | None = None,
        ringer: int | None = None,
        age_s: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._end = end
        self._allowed = allowed
        self._ringer = ringer
        self._age_s = age_s
        self._bells: dict[socket.socket, int] = {}
        with ExitStack() as stack:
            for k in settings.workers if workers is None else workers:
                settings.check_worker(k)
                bell = stack.enter_context(_listening(settings, Ports(k).bell))
                self._bells[bell] = k
            self._pulse = stack.enter_context(_listening(settings, Ports(HEAD).pulse))
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Listens no more; links stay."""
        self._stack.close()

    def run(self, ended: threading.Event, *, every_s: float = 1.0) -> None:
        """Works until `ended` is set."""
        with selectors.DefaultSelector() as selector:
            for asked in (*self._bells, self._pulse):
                selector.register(asked, selectors.EVENT_READ)
            while not ended.is_set():
                for key, _ in selector.select(every_s):
                    assert isinstance(key.fileobj, socket.socket)
                    if key.fileobj is self._pulse:
                        self._tell_age()
                    else:
                        self._answer(key.fileobj)
                self.end_revoked()

    def end_revoked(self) -> None:
        """Ends the links of workers whose keys are revoked: an open one outlives its key."""
        try:
            for k in sorted(links(self._settings).open - set(self._allowed())):
                logger.info("worker %d is no longer admitted", k)
                self._end(k)
        except OSError as error:
            logger.warning("links of revoked workers may be open: %s", error)

    def _answer(self, bell: socket.socket) -> None:
        k = self._bells[bell]
        try:
            connection, ringer = bell.accept()
        except OSError:  # the worker has left
            return
        with connection:
            try:
                if self._ringer is not None and owner_of(*ringer[:2]) != self._ringer:
                    logger.warning("worker %d's bell was rung by another user of this head", k)
                    return
                self._end(k)
                connection.settimeout(1.0)
                connection.sendall(b"ok\n")
            except OSError as error:
                logger.warning("worker %d's last link has not ended: %s", k, error)

    def _tell_age(self) -> None:
        """Tells a worker's switch how long ago the daemon was at work; nothing if it never was."""
        try:
            connection, _ = self._pulse.accept()
        except OSError:
            return
        with connection, suppress(OSError):
            age = self._age_s()
            connection.settimeout(1.0)
            connection.sendall(b"" if age is None else f"{age}\n".encode("ascii"))


def _listening(settings: OverlaySettings, port: int) -> socket.socket:
    """Listens at the head's address. Raises OSError if the port is taken."""
    made = socket.socket()
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address(HEAD, settings.network), port))
        made.listen(8)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
