"""The interface of checkpoint stores, and their errors."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol, TypeAlias

from tune_app.stores.naming import LEFT_FOR_GOOD

Data: TypeAlias = bytes | bytearray | memoryview


class StoreError(OSError):
    """A store operation failed. The message names the store and the remedy."""


class StoreUnreachableError(StoreError):
    """The store does not answer, or too late: retrying may help."""


class StoreRefusedError(StoreError):
    """The store refuses: wrong key, no permission, no such bucket. The user has to act."""


class StoreFullError(StoreError):
    """The store has no space left for the data."""


class NotStoredError(StoreError):
    """The store holds nothing with that name."""


class TornError(StoreError):
    """The data read back is not the data that was written."""


class Sink(Protocol):
    """What takes a stream of bytes."""

    def write(self, data: Data, /) -> int:
        """Takes all of the data and returns its length."""


class Store(Protocol):
    """Named objects in storage that outlives the host of a trial.

    Some let their user add objects, and neither replace nor remove any: both then raise
    StoreRefusedError, but for writing again what is there.

    Names are relative, with `/` between their parts: `3f2a…/102400.pt`; an invalid name raises
    ValueError. Every method raises the matching StoreError within a bounded time, and may be
    called again afterwards. A store may be used from several threads, one call at a time, and can
    be reopened in another process from its `url`.
    """

    @property
    def url(self) -> str:
        """URL that reopens the store. It contains no secret."""

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Writes an object completely or not at all; once it returns, the object survives a crash.

        Replaces an existing object atomically: a reader sees the old one or the new one.
        """

    def read(self, name: str) -> bytes:
        """Reads an object.

        Raises NotStoredError, and StoreUnreachableError if the store's own folder is missing, as
        when its disk is not mounted: then its contents are unknown.
        """

    def writing(self, name: str) -> AbstractContextManager[Sink]:
        """A sink for an object that never is in memory as a whole; `write` for large ones.

        The object is written completely once the block ends, and not at all if the block raises.
        Until then no other call to the store is answered.
        """

    def fetch(self, name: str, sink: Sink) -> None:
        """Writes an object into a sink, piece by piece; `read` for large ones.

        If it fails, the sink may have a part of it. Raises as `read`, and what the sink raises.
        """

    def reading(self, name: str) -> AbstractContextManager[BinaryIO]:
        """An object as an open file that can seek. Raises as `read`.

        Of a remote store it is a temporary file, in the folder that TMPDIR says.
        """

    def names(self, folder: str) -> list[str]:
        """Names of the objects in a folder, sorted, as given to `write`; [] if there are none.

        Raises StoreUnreachableError if the store's own folder is missing: see `read`. Half-written
        objects and those in sub-folders are left out; "" is the store itself.
        """

    def remove(self, name: str) -> None:
        """Removes an object; does nothing if it does not exist."""

    def remove_leftovers(self, folder: str, *, older_than: float = LEFT_FOR_GOOD) -> None:
        """Removes half-written objects in a folder, left by a crash.

        Only those last written at least `older_than` seconds ago: a process believed dead may
        still be writing a newer one.
        """

    def free_bytes(self) -> int | None:
        """Free space in bytes, or None if unknown."""

    def check(self) -> None:
        """Creates the store's own folder, and writes, reads and removes a small object in it.

        Reveals early what would fail later.
        """

    def close(self) -> None:
        """Closes connections; a later call reopens them."""
