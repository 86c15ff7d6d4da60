"""Which user is at the other end of the daemon's socket, according to the kernel."""

from __future__ import annotations

import os
import socket
import struct

_CREDENTIALS = struct.Struct("3i")  # process, user, group


def peer_user(connection: socket.socket) -> int:
    """The number of the user who opened a Unix socket's connection."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(told)[1])


def refuse_to_open(user: int) -> str:
    """Why this user may not allow launches again; empty if they may.

    Ray's user may not: its processes could rent again while the cluster is taken down.
    """
    if user in (0, os.geteuid()):
        return ""
    return f"only root allows launches again, not user {user}: sudo python -m tune_app.cloud open"
