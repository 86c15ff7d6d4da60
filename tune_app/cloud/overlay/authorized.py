"""Which keys the head's second SSH server accepts, and what each of them may do.

A worker's host belongs to somebody else: its keys do what the worker needs, and nothing more.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path

from tune_app.cloud.overlay.addresses import HEAD, Ports, address
from tune_app.cloud.overlay.settings import OverlaySettings
from tune_app.cloud.secrets.ssh_keys import checked_public
from tune_app.cloud.whole_files import write_file

ADDS_ONLY = (
    *("open", "close", "read", "write", "fsync", "mkdir", "hardlink"),
    *("stat", "lstat", "fstat", "opendir", "readdir", "realpath", "statvfs", "limits"),
)
"""What a worker may ask of the store. None of it removes or renames a file or changes its mode, and
one that was made read-only is not opened for writing again, as all are one user's. A link gives a
file its name only where there is none yet. What is not named is refused: later versions of OpenSSH
know more."""

_OWNER = re.compile(r" stellux-(\d+)$")


def link_targets(settings: OverlaySettings, k: int) -> list[tuple[int, int]]:
    """(node, port) of all that worker k reaches through the head, but for its bell."""
    head = Ports(HEAD)
    peers = [peer for peer in settings.workers if peer != k] if settings.between_workers else []
    return [
        (HEAD, settings.gcs_port),
        (HEAD, head.pulse),
        *((HEAD, port) for port in head.for_peers),
        *((peer, port) for peer in peers for port in Ports(peer).for_peers),
    ]


def link_line(settings: OverlaySettings, k: int, public: str) -> str:
    """Worker k's line of the links' user: it listens at its own ports, and opens these alone.

    Raises ValueError for a number that no worker has, and for an invalid public key.
    """
    settings.check_worker(k)
    own = address(k, settings.network)
    options = ["restrict", "port-forwarding", 'command="/bin/false"']
    options += [f'permitlisten="{own}:{port}"' for port in Ports(k).for_head]
    options.append(f'permitopen="{address(HEAD, settings.network)}:{Ports(k).bell}"')
    options += [
        f'permitopen="{address(node, settings.network)}:{port}"'
        for node, port in link_targets(settings, k)
    ]
    return f"{','.join(options)} {checked_public(public)} stellux-{k}"


def store_line(settings: OverlaySettings, k: int, public: str) -> str:
    """Node k's line of the store's user, whom the server locks into the store's root.

    A worker reads and adds; the head's own key may replace and remove as well.
    Raises ValueError as `link_line`.
    """
    command = "internal-sftp"
    if k != HEAD:
        settings.check_worker(k)
        command += f" -p {','.join(ADDS_ONLY)}"
    return f'restrict,command="{command}" {checked_public(public)} stellux-{k}'


def owner(line: str) -> int | None:
    """The number of the line's worker; None if this program did not write it."""
    found = _OWNER.search(line)
    return None if found is None else int(found[1])


def with_line(text: str, k: int, line: str | None) -> str:
    """A file's text in which `line`, or nothing, is all that worker k has."""
    if line is not None and [one for one in text.splitlines() if owner(one) == k] == [line]:
        return text
    kept = [one for one in text.splitlines() if one.strip() and owner(one) != k]
    return "".join(f"{one}\n" for one in [*kept, *([] if line is None else [line])])


class AuthorizedKeys:
    """A file of lines, each of one worker. Safe between threads, of one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def put(self, k: int, line: str) -> None:
        """Admits worker k with this line alone. Raises OSError if it cannot be written."""
        assert owner(line) == k and "\n" not in line
        self._change(k, line)

    def remove(self, k: int) -> None:
        """Admits worker k no longer. Raises OSError if it cannot be written."""
        self._change(k, None)

    def workers(self) -> set[int]:
        """The workers that are admitted. Raises OSError if it cannot be read."""
        return {k for line in self._text().splitlines() if (k := owner(line)) is not None}

    def _text(self) -> str:
        try:
            return self.path.read_text("utf-8")
        except FileNotFoundError:
            return ""

    def _change(self, k: int, line: str | None) -> None:
        with self._lock:
            before = self._text()
            after = with_line(before, k, line)
            if after != before or not self.path.exists():
                # The server reads it as the user who logs in, and it holds no secret.
                write_file(self.path, after, mode=0o644)
