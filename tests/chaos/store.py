"""The store of checkpoints as a fault sees it: a folder on disk that can be taken away."""

from __future__ import annotations

import ctypes
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

StoreKind = Literal["path", "sftp"]

_AT_CURRENT_FOLDER = -100
_EXCHANGE = 2


class StoreUnderTest(Protocol):
    """A store whose disk the harness sees, and which it can make unreachable."""

    @property
    def url(self) -> str:
        """What --checkpoints gets."""

    def take_away(self) -> None:
        """From now on nobody reaches it. What it holds stays."""

    def bring_back(self) -> None:
        """It is as it was."""

    def whole(self, cell: str) -> list[Path]:
        """The states of a cell on its disk that have a manifest of them, the newest last."""

    def close(self) -> None:
        """Ends what serves it."""


def open_store_under_test(kind: StoreKind, folder: Path) -> StoreUnderTest:
    """A new store in a folder that is not there yet."""
    return SshdUnderTest(folder) if kind == "sftp" else FolderUnderTest(folder)


class FolderUnderTest:
    """A path: while it is away a file has its name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True)
        self._aside = folder.with_name(folder.name + ".away")
        self._aside.write_text("the store is away\n", "utf-8")
        self._disk = folder

    @property
    def url(self) -> str:
        # Seen by all nodes of the run, also by those that come while it lasts.
        return self._folder.as_uri()

    def take_away(self) -> None:
        exchange(self._folder, self._aside)
        self._disk = self._aside

    def bring_back(self) -> None:
        exchange(self._folder, self._aside)
        self._disk = self._folder

    def whole(self, cell: str) -> list[Path]:
        return whole_states(self._disk / cell)

    def close(self) -> None:
        """Nobody serves it."""


class SshdUnderTest:
    """A folder behind a real sshd: while it is away nobody listens.

    Args:
        folder: gets the server's keys, its log and its store.
    """

    def __init__(self, folder: Path) -> None:
        # Here, since only this kind of store needs an SSH client and a server.
        from tests.tune_app.stores.servers import Sshd

        self._server = Sshd(folder)
        self._server.start()

    @property
    def url(self) -> str:
        return self._server.url()

    def take_away(self) -> None:
        self._server.stop()

    def bring_back(self) -> None:
        self._server.start()

    def whole(self, cell: str) -> list[Path]:
        return whole_states(self._server.store / cell)

    def close(self) -> None:
        self._server.stop()


def whole_states(folder: Path) -> list[Path]:
    """States in a cell's folder that are as long as their manifest says, the newest last."""
    found = []
    for path in folder.glob("*.pt"):
        # Whoever trains may remove one at any moment.
        with suppress(OSError, ValueError):
            manifest = json.loads(path.with_suffix(".json").read_text("utf-8"))
            if manifest["bytes"] == path.stat().st_size:
                found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found)]


def tokens_of(path: Path) -> int:
    """What a state's name says of it: `TOKENS-HASH.pt`."""
    return int(path.stem.partition("-")[0])


def exchange(one: Path, other: Path) -> None:
    """Swaps two names at once: nobody ever sees one of them missing. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    failed = library.renameat2(
        _AT_CURRENT_FOLDER, os.fsencode(one), _AT_CURRENT_FOLDER, os.fsencode(other), _EXCHANGE
    )
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one))
