"""What every store of checkpoints can do, and how it fails."""

from __future__ import annotations

from typing import Protocol

from tune_app.stores.naming import LEFT_FOR_GOOD


class StoreError(OSError):
    """A store did not do what was asked of it. The message names the store and the remedy."""


class StoreUnreachableError(StoreError):
    """It does not answer, or answers too late: worth another try."""


class StoreRefusedError(StoreError):
    """It answers and says no: a wrong key, no permission, no such bucket. A person has to act."""


class StoreFullError(StoreError):
    """There is no room left for what was to be written."""


class NotStoredError(StoreError):
    """It holds nothing of that name."""


class TornError(StoreError):
    """What was read back is not what was written."""


class Store(Protocol):
    """Named contents in a place that outlives the host of a trial.

    Names are relative, with `/` between their parts: `3f2a…/102400.pt`; one that cannot be a name
    is a ValueError. Every method raises a StoreError of the fitting kind, within a bounded time,
    and may be called again after one. A store may be used from several threads, one call at a
    time, and can be opened anew in another process from its `url`.
    """

    @property
    def url(self) -> str:
        """What opens it again. It holds no secret."""

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Writes a content whole or not at all; when it returns, the content survives a crash.

        One of that name is replaced at once: a reader sees the old one or the new one.
        """

    def read(self, name: str) -> bytes:
        """The content of a name.

        Raises NotStoredError, and StoreUnreachableError where the store's own folder is away, as
        that of a disk that is not mounted: a folder that is away says nothing of what it holds.
        """

    def names(self, folder: str) -> list[str]:
        """Names of the contents in a folder, sorted, as `write` got them; [] where there is none.

        Raises StoreUnreachableError where the store's own folder is away: see `read`.
        Half-written contents and those of sub-folders are not among them; "" is the store itself.
        """

    def remove(self, name: str) -> None:
        """Removes a content; nothing happens where there is none."""

    def remove_leftovers(self, folder: str, *, older_than: float = LEFT_FOR_GOOD) -> None:
        """Removes half-written contents in a folder, left by a crash.

        Only those that were last written `older_than` seconds ago or more: a process that all
        believe dead may still be at work on a newer one.
        """

    def free_bytes(self) -> int | None:
        """Room left, or None where nobody knows."""

    def check(self) -> None:
        """Makes the store's own folder; writes, reads and removes a small content in it.

        What would fail later fails here.
        """

    def close(self) -> None:
        """Lets go of connections; a later call opens them again."""
