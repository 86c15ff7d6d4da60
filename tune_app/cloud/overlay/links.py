"""Which workers' links are open, and which processes hold them: seen from listening addresses.

A link is a session of the head's second SSH server that listens at 127.77.0.k for worker k.
Everybody may see that; only root sees which process it is, and may end it.
"""

from __future__ import annotations

import logging
import selectors
import socket
import sys
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tune_app.cloud.overlay.addresses import Ports, address
from tune_app.cloud.overlay.settings import OverlaySettings

logger = logging.getLogger(__name__)

_SERVER_NAMES = ("sshd", "sshd-session")
_LISTEN = "0A"
END_S = 5.0


class LinksUnknownError(OSError):
    """The listening sockets of this machine cannot be seen."""


@dataclass(frozen=True, kw_only=True)
class Links:
    """What is listened at now."""

    open: frozenset[int]
    """Workers whose link is open."""
    server_up: bool
    """Whether the SSH server itself listens."""


def links(settings: OverlaySettings) -> Links:
    """The links that are open now. Raises LinksUnknownError if the kernel does not tell."""
    try:
        tables = [Path("/proc/net/tcp").read_text("ascii")]
        with suppress(FileNotFoundError):  # a kernel without IPv6
            tables.append(Path("/proc/net/tcp6").read_text("ascii"))
    except OSError as error:
        raise LinksUnknownError(f"the links cannot be seen: {error}") from error
    return links_among(settings, [one for table in tables for one in listening(table)])


def links_among(settings: OverlaySettings, sockets: Iterable[tuple[str, int]]) -> Links:
    """The links among (address, port) that are listened at. Pure.

    A link counts by its node manager's port: a session that did not get all ports ends itself.
    """
    found = set(sockets)
    return Links(
        open=frozenset(
            k
            for k in settings.workers
            if (address(k, settings.network), Ports(k).node_manager) in found
        ),
        server_up=any(port == settings.port for _, port in found),
    )


def listening(table: str) -> list[tuple[str, int]]:
    """(address, port) of the listening sockets in a /proc/net/tcp; IPv6 addresses stay in hex."""
    found = []
    for line in table.splitlines()[1:]:
        words = line.split()
        if len(words) > 3 and words[3] == _LISTEN:
            where, port = words[1].split(":")
            if len(where) == 8:
                # The kernel writes the number as the machine holds it.
                packed = int(where, 16).to_bytes(4, sys.byteorder)
                where = socket.inet_ntoa(packed)
            found.append((where, int(port, 16)))
    return found


def owner_of(where: str, port: int) -> int | None:
    """The user whose TCP socket on this machine has this address; None if there is none.

    Raises LinksUnknownError if the kernel does not tell.
    """
    try:
        lines = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    except OSError as error:
        raise LinksUnknownError(f"the sockets' owners cannot be seen: {error}") from error
    wanted = f"{int.from_bytes(socket.inet_aton(where), sys.byteorder):08X}:{port:04X}"
    for line in lines:
        words = line.split()
        if len(words) > 7 and words[1] == wanted:
            return int(words[7])
    return None


def end_link(settings: OverlaySettings, k: int) -> int:
    """Ends the sessions that hold worker k's ports; returns how many there were.

    Returns when the ports are free. Raises PermissionError if this user may not end them, and
    LinksUnknownError if they cannot be seen or do not end.
    """
    ended: set[int] = set()
    until = time.monotonic() + END_S
    while True:
        held = _held(settings, k)
        if not held:
            return len(ended)
        if None in held:
            raise PermissionError(
                f"worker {k}'s link is another user's process; only root may end it"
            )
        if time.monotonic() > until:
            raise LinksUnknownError(f"worker {k}'s link does not end: processes {sorted(ended)}")
        ended |= {pid for pid in held if pid is not None and pid not in ended and _end(pid, k)}
        time.sleep(0.02)


def _held(settings: OverlaySettings, k: int) -> set[int | None]:
    """Processes that listen at worker k's own ports; None for one that cannot be seen."""
    own = {(address(k, settings.network), port) for port in Ports(k).for_head}
    try:
        sockets = psutil.net_connections("tcp4")
    except (psutil.Error, OSError) as error:
        raise LinksUnknownError(f"the links cannot be seen: {error}") from error
    return {
        one.pid for one in sockets if one.status == psutil.CONN_LISTEN and tuple(one.laddr) in own
    }


def _end(pid: int, k: int) -> bool:
    try:
        process = psutil.Process(pid)
        if process.name() not in _SERVER_NAMES:
            raise LinksUnknownError(
                f"worker {k}'s address is held by process {pid}, {process.name()!r}, which is not "
                "a link: end it by hand"
            )
        # It may be stopped or stalled, and has nothing to save.
        process.kill()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied as error:
        raise PermissionError(f"worker {k}'s link may not be ended by this user: {error}") from None
    logger.info("ended worker %d's link, process %d", k, pid)
    return True


def answering(
    settings: OverlaySettings, workers: Collection[int], *, timeout_s: float
) -> frozenset[int]:
    """Those of the workers whose other end reacts within the time.

    Each is asked over its link for the greeting of its SSH server. A refusal is a reaction, too:
    it comes from the other end.
    """
    until = time.monotonic() + timeout_s
    answered: set[int] = set()
    with selectors.DefaultSelector() as selector:
        try:
            for k in workers:
                probe = socket.socket()
                probe.setblocking(False)
                probe.connect_ex((address(k, settings.network), Ports(k).sshd))
                selector.register(probe, selectors.EVENT_READ, k)
            while selector.get_map() and (left := until - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    asked = key.fileobj
                    assert isinstance(asked, socket.socket)
                    with suppress(OSError):
                        asked.recv(1)
                        answered.add(key.data)
                    selector.unregister(asked)
                    asked.close()
        finally:
            for key in list(selector.get_map().values()):
                left_over = key.fileobj
                assert isinstance(left_over, socket.socket)
                left_over.close()
    return frozenset(answered)
