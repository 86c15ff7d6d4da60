"""Passes one request to the cloud's daemon and the answer back, over SSH.

python -m tune_app.cloud.daemon.ssh_relay SOCKET < request

Its source is sent with every request, so that it runs on a head of any version: it imports only the
standard library.
"""

from __future__ import annotations

import socket
import sys


def main(path: str) -> int:
    """Copies standard input to the socket, and what comes back to standard output."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(path)
            connection.sendall(sys.stdin.buffer.read())
            connection.shutdown(socket.SHUT_WR)
            while received := connection.recv(65_536):
                sys.stdout.buffer.write(received)
    except OSError as error:
        sys.stderr.write(f"error: {path}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
