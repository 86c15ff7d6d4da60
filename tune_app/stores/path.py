"""A folder that this machine sees: its own disk, or another's that is mounted."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tune_app.stores import naming
from tune_app.stores.base import (
    NotStoredError,
    StoreError,
    StoreFullError,
    StoreRefusedError,
    StoreUnreachableError,
)
from tune_app.stores.probe import write_read_remove

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EEXIST,
        errno.EINVAL,
    }
)


class PathStore:
    """Contents as files of a folder, which is made with the first of them.

    A folder that is not there holds nothing that could be said about it: read and names raise
    StoreUnreachableError until write or check has made it. A call lasts as long as the file system
    makes it last: mount a remote one such that it fails rather than hangs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def __repr__(self) -> str:
        return f"PathStore({self.url!r})"

    @property
    def url(self) -> str:
        """The absolute path of the folder."""
        return str(self._folder)

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Writes a content under a temporary name, and moves it into place once it is on disk."""
        path = self._folder / naming.checked(name)
        temporary = path.with_name(naming.temporary(path.name))
        with self._errors(f"cannot write {name}"):
            _make(path.parent)
            try:
                with temporary.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync(path.parent)

    def read(self, name: str) -> bytes:
        """The content of a name. Raises NotStoredError."""
        path = self._folder / naming.checked(name)
        with self._errors(f"cannot read {name}"):
            try:
                return path.read_bytes()
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                self._must_be_there()
                raise NotStoredError(
                    f"{self._folder} holds no {name}; names() tells what it holds"
                ) from None

    def names(self, folder: str) -> list[str]:
        """Names of the whole contents in a folder, sorted; its sub-folders are not looked into."""
        prefix = f"{folder}/" if naming.checked_folder(folder) else ""
        with self._errors(f"cannot list {folder or 'its contents'}"):
            try:
                found = [
                    path.name
                    for path in (self._folder / folder).iterdir()
                    if path.suffix != naming.TEMPORARY and path.is_file()
                ]
            except (FileNotFoundError, NotADirectoryError):
                self._must_be_there()
                return []
        return sorted(prefix + name for name in found)

    def remove(self, name: str) -> None:
        """Removes a content; nothing happens where there is none."""
        path = self._folder / naming.checked(name)
        with self._errors(f"cannot remove {name}"):
            try:
                path.unlink(missing_ok=True)
            except NotADirectoryError:
                return

    def remove_leftovers(self, folder: str, *, older_than: float = naming.LEFT_FOR_GOOD) -> None:
        """Removes half-written contents of a folder that are `older_than` seconds old or more."""
        naming.checked_folder(folder)
        with self._errors(f"cannot tidy {folder or 'it'} up"):
            for path in (self._folder / folder).glob(f"*{naming.TEMPORARY}"):
                try:
                    if path.stat().st_mtime <= time.time() - older_than:
                        path.unlink()
                except FileNotFoundError:
                    continue

    def free_bytes(self) -> int | None:
        """Room that this user may fill, in the file system that holds the folder or will."""
        with self._errors("cannot ask for its room"):
            there = next(path for path in (self._folder, *self._folder.parents) if path.exists())
            room = os.statvfs(there)
            return room.f_bavail * room.f_frsize

    def check(self) -> None:
        """Writes, reads and removes a small content."""
        write_read_remove(self)

    def close(self) -> None:
        """Nothing is held open."""

    def _must_be_there(self) -> None:
        """Raises StoreUnreachableError where the folder itself is away, as an unmounted one is."""
        if not self._folder.is_dir():
            raise StoreUnreachableError(
                f"{self._folder} is no folder now; check its disk or its mount"
            )

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turns an error of the operating system into one of a store."""
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            if self._folder.exists():
                self._must_be_there()
            reason = f"{self._folder}: {what}: {error.strerror or error}"
            if error.errno in _FULL:
                raise StoreFullError(f"{reason}; make room there, or name another store") from error
            if error.errno in _REFUSED:
                raise StoreRefusedError(
                    f"{reason}; give this user the right to write there, or name another store"
                ) from error
            raise StoreUnreachableError(f"{reason}; check its disk or its mount") from error


def _make(folder: Path) -> None:
    """Makes a folder such that it survives a crash, as what is written in it shall."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
