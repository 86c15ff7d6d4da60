"""A store in a folder of this machine, on its own disk or a mounted one."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tune_app.stores import naming
from tune_app.stores.base import (
    NotStoredError,
    Sink,
    StoreError,
    StoreFullError,
    StoreRefusedError,
    StoreUnreachableError,
)
from tune_app.stores.probe import write_read_remove

_PIECE = 2**20
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
    """Objects as files in a folder, which is created with the first of them.

    While the folder is missing its contents are unknown: read and names raise
    StoreUnreachableError until write or check has created it. A call takes as long as the file
    system takes: mount a remote one so that it fails rather than hangs.
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
        """Writes an object under a temporary name, and renames it once it is on disk."""
        with self.writing(name) as file:
            file.write(content)

    @contextmanager
    def writing(self, name: str) -> Iterator[Sink]:
        """The file under its temporary name, which is renamed once it is on disk."""
        path = self._folder / naming.checked(name)
        temporary = path.with_name(naming.temporary(path.name))
        with self._errors(f"cannot write {name}"):
            _make(path.parent)
            try:
                with temporary.open("xb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync(path.parent)

    def read(self, name: str) -> bytes:
        """Reads an object. Raises NotStoredError."""
        with self.reading(name) as file, self._errors(f"cannot read {name}"):
            return file.read()

    def fetch(self, name: str, sink: Sink) -> None:
        """Writes an object into a sink. Raises NotStoredError."""
        with self.reading(name) as file:
            while piece := self._piece(name, file):
                sink.write(piece)

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        """The object's file. Raises NotStoredError."""
        path = self._folder / naming.checked(name)
        with self._errors(f"cannot read {name}"):
            try:
                file = path.open("rb")
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                self._must_be_there()
                raise NotStoredError(
                    f"{self._folder} holds no {name}; names() lists what it holds"
                ) from None
        with file:
            yield file

    def _piece(self, name: str, file: BinaryIO) -> bytes:
        with self._errors(f"cannot read {name}"):
            return file.read(_PIECE)

    def names(self, folder: str) -> list[str]:
        """Names of the complete objects in a folder, sorted, without its sub-folders."""
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
        """Removes an object; does nothing if it does not exist."""
        path = self._folder / naming.checked(name)
        with self._errors(f"cannot remove {name}"):
            try:
                path.unlink(missing_ok=True)
            except NotADirectoryError:
                return

    def remove_leftovers(self, folder: str, *, older_than: float = naming.LEFT_FOR_GOOD) -> None:
        """Removes half-written objects in a folder that are at least `older_than` seconds old."""
        naming.checked_folder(folder)
        with self._errors(f"cannot clean up {folder or 'it'}"):
            for path in (self._folder / folder).glob(f"*{naming.TEMPORARY}"):
                try:
                    if path.stat().st_mtime <= time.time() - older_than:
                        path.unlink()
                except FileNotFoundError:
                    continue

    def free_bytes(self) -> int | None:
        """Bytes that this user can still write on the file system of the folder."""
        with self._errors("cannot read its free space"):
            there = next(path for path in (self._folder, *self._folder.parents) if path.exists())
            room = os.statvfs(there)
            return room.f_bavail * room.f_frsize

    def check(self) -> None:
        """Writes, reads and removes a small object."""
        write_read_remove(self)

    def close(self) -> None:
        """Does nothing: no connection is open."""

    def _must_be_there(self) -> None:
        """Raises StoreUnreachableError if the folder itself is missing, as an unmounted one is."""
        if not self._folder.is_dir():
            raise StoreUnreachableError(
                f"the folder {self._folder} is missing; check its disk or its mount"
            )

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turns an OSError into a StoreError."""
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            if self._folder.exists():
                self._must_be_there()
            reason = f"{self._folder}: {what}: {error.strerror or error}"
            if error.errno in _FULL:
                raise StoreFullError(f"{reason}; make room there, or use another store") from error
            if error.errno in _REFUSED:
                raise StoreRefusedError(
                    f"{reason}; give this user write permission there, or use another store"
                ) from error
            raise StoreUnreachableError(f"{reason}; check its disk or its mount") from error


def _make(folder: Path) -> None:
    """Creates a folder so that it survives a crash, like the files written in it."""
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
