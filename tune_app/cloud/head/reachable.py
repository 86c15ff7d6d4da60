"""Whether workers can dial the head, tried from the user's machine before anything is rented."""

from __future__ import annotations

import socket
import time

from tune_app.cloud.head.shell import HeadUnreachableError

WITHIN_S = 20.0
"""The server has just been started."""
_CONNECT_S = 5.0
_GREETING = b"SSH-2.0"


def check_reachable(host: str, port: int, *, within_s: float = WITHIN_S) -> None:
    """Connects to the head's second SSH server, as every worker will.

    Raises HeadUnreachableError with the remedy: each worker would be rented, never be heard of, and
    be destroyed.
    """
    until = time.monotonic() + within_s
    while (why := _why_not(host, port)) is not None:
        if time.monotonic() >= until:
            raise HeadUnreachableError(
                f"workers could not reach the head: {host}:{port} {why}. Allow TCP port {port} "
                "in the firewall (security group) of the head's provider, or choose an open port "
                "as provider.overlay.port; address has to be a name or address that is valid "
                "everywhere. Nothing was rented"
            )
        time.sleep(0.5)


def _why_not(host: str, port: int) -> str | None:
    """None if an SSH server greets."""
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_S) as connection:
            said = connection.recv(len(_GREETING))
    except OSError as error:
        return f"does not answer from this machine ({error})"
    return None if said == _GREETING else f"is answered by {said!r}, not by an SSH server"
