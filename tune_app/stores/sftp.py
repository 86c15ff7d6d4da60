"""A store in a folder on an SSH server."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, TypeVar
from urllib.parse import quote

import asyncssh
from asyncssh import SFTPClient

from tune_app.stores import naming
from tune_app.stores.base import NotStoredError, Sink, StoreError, StoreUnreachableError
from tune_app.stores.event_loop import EventLoopThread
from tune_app.stores.probe import write_read_remove
from tune_app.stores.sftp_session import NOT_THERE, Operation, SftpSession, Upload
from tune_app.stores.spool import Pieces, spooled
from tune_app.stores.ssh import SshAddress

T = TypeVar("T")

_PIECE = 32 * 2**20
"""Bytes of a large object in memory; several times what is in flight."""


class SftpStore:
    """Objects as files below `path`, over one connection that is opened when needed.

    The server must support POSIX renames, as OpenSSH does, or hard links, where it lets this user
    only add files. An object is on its disk before it gets its final name; the name is as durable
    as a rename in the server's file system.

    Args:
        path: absolute, or relative to the user's home folder.
        read_only_files: whether files are made read-only. Keys of the same user that may only add
            files then write to none that is there. Off, the server's mask alone decides.
        connect_timeout: seconds allowed for connecting.
        stall_timeout: seconds after which a server that acknowledges nothing counts as stalled.
    """

    def __init__(
        self,
        address: SshAddress,
        path: str,
        *,
        read_only_files: bool = False,
        connect_timeout: float = 15.0,
        stall_timeout: float = 30.0,
    ) -> None:
        self._address = address
        self._path = path
        self._read_only_files = read_only_files
        self._lock = threading.Lock()
        # A lost connection fails all of its requests; only the first error is reported.
        self._loop = EventLoopThread(f"sftp {address}", unreported=asyncssh.Error)
        self._session = SftpSession(
            address,
            folder=path,
            label=self.url,
            read_only_files=read_only_files,
            connect_timeout=connect_timeout,
            stall_timeout=stall_timeout,
        )

    def __repr__(self) -> str:
        return f"SftpStore({self.url!r})"

    @property
    def url(self) -> str:
        """URL that reopens the store. It names the key file, and does not contain the key."""
        path = self._path if self._path.startswith("/") else f"/~/{self._path}"
        options = {
            "key": self._address.key,
            "known_hosts": self._address.known_hosts,
            "files": "read-only" if self._read_only_files else None,
        }
        query = "&".join(
            f"{name}={quote(value, safe='/~')}" for name, value in options.items() if value
        )
        return f"{self._address.url}{quote(path, safe='/~')}" + (f"?{query}" if query else "")

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Writes an object under a temporary name, and renames it once it is on the remote disk."""
        path = self._file(naming.checked(name))
        view = memoryview(content).cast("B")

        async def operation(client: SFTPClient) -> None:
            await self._session.write(client, path, view)

        self._run(f"cannot write {name}", operation, needed=len(view))

    @contextmanager
    def writing(self, name: str) -> Iterator[Sink]:
        """The file under its temporary name, which is renamed once it is on the remote disk."""
        path, what = self._file(naming.checked(name)), f"cannot write {name}"

        async def begin(client: SFTPClient) -> Upload:
            return await self._session.begin(client, path)

        with self._lock:
            upload = self._now(what, begin)

            def append(piece: memoryview) -> None:
                async def operation(client: SFTPClient) -> None:
                    await self._session.append(client, upload, piece)

                self._now(what, operation, needed=len(piece))

            async def finish(client: SFTPClient) -> None:
                await self._session.finish(client, upload)

            async def drop(client: SFTPClient) -> None:
                await self._session.drop(client, upload)

            sink = Pieces(append, size=_PIECE)
            try:
                yield sink
                sink.finish()
                self._now(what, finish)
            except BaseException:
                with suppress(StoreError):
                    self._now(what, drop)
                raise

    def read(self, name: str) -> bytes:
        """Reads an object. Raises NotStoredError."""
        path = self._file(naming.checked(name))

        async def operation(client: SFTPClient) -> bytes:
            try:
                return await self._session.read(client, path)
            except NOT_THERE:
                await self._must_be_there(client)
                raise self._not_stored(name) from None
            except asyncssh.SFTPFailure:
                if await client.isdir(path):
                    raise self._not_stored(name) from None
                raise

        return self._run(f"cannot read {name}", operation)

    def fetch(self, name: str, sink: Sink) -> None:
        """Writes an object into a sink. Raises NotStoredError."""
        path, what = self._file(naming.checked(name)), f"cannot read {name}"
        with self._lock:
            at = 0
            while True:

                async def operation(client: SFTPClient, start: int = at) -> bytes:
                    try:
                        return await self._session.read(client, path, start=start, most=_PIECE)
                    except NOT_THERE:
                        await self._must_be_there(client)
                        raise self._not_stored(name) from None
                    except asyncssh.SFTPFailure:
                        if await client.isdir(path):
                            raise self._not_stored(name) from None
                        raise

                if not (piece := self._now(what, operation)):
                    return
                sink.write(piece)
                at += len(piece)

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        """The object in a temporary file. Raises NotStoredError."""
        with spooled(lambda sink: self.fetch(name, sink)) as file:
            yield file

    def names(self, folder: str) -> list[str]:
        """Names of the complete objects in a folder, sorted, without its sub-folders."""
        prefix = f"{folder}/" if naming.checked_folder(folder) else ""

        async def operation(client: SFTPClient) -> list[str]:
            files = await self._session.files(client, self._file(folder))
            if not files:
                await self._must_be_there(client)
            return sorted(prefix + file for file in files if not file.endswith(naming.TEMPORARY))

        return self._run(f"cannot list {folder or 'it'}", operation)

    def remove(self, name: str) -> None:
        """Removes an object; does nothing if it does not exist."""
        path = self._file(naming.checked(name))

        async def operation(client: SFTPClient) -> None:
            await self._session.remove(client, path)

        self._run(f"cannot remove {name}", operation)

    def remove_leftovers(self, folder: str, *, older_than: float = naming.LEFT_FOR_GOOD) -> None:
        """Removes half-written objects in a folder that are at least `older_than` seconds old."""
        path = self._file(naming.checked_folder(folder))

        async def operation(client: SFTPClient) -> None:
            files = await self._session.files(client, path)
            left = [file for file in files if file.endswith(naming.TEMPORARY)]
            # They have their names by a link: who wrote them could not remove the temporary ones.
            whole = [
                file for file in left if files[file].links > 1 and naming.finished(file) in files
            ]
            for file in whole:
                await self._session.remove(client, posixpath.join(path, file))
            half = [file for file in left if file not in whole]
            now = await self._session.time(client, path) if half else 0
            for file in half:
                if files[file].modified <= now - older_than:
                    await self._session.remove(client, posixpath.join(path, file))

        self._run(f"cannot clean up {folder or 'it'}", operation)

    def free_bytes(self) -> int | None:
        """Bytes that the user can still write there; None if the server does not report it."""

        async def operation(client: SFTPClient) -> int | None:
            try:
                room = await self._session.room(client)
            except asyncssh.SFTPOpUnsupported:
                return None
            return int(room.bavail * room.frsize)

        return self._run("cannot read its free space", operation)

    def check(self) -> None:
        """Writes, reads and removes a small object."""
        write_read_remove(self)

    def close(self) -> None:
        """Closes the connection and its thread; a later call reopens them."""
        with self._lock:
            if self._loop.is_running:
                self._loop.run(self._session.close())
            self._loop.close()

    def _run(self, what: str, operation: Operation[T], *, needed: int = 0) -> T:
        with self._lock:
            return self._now(what, operation, needed=needed)

    def _now(self, what: str, operation: Operation[T], *, needed: int = 0) -> T:
        """Runs an operation for a caller that holds the lock."""
        return self._loop.run(self._session.run(what, operation, needed=needed))

    def _file(self, name: str) -> str:
        return posixpath.join(self._path, name) or "."

    async def _must_be_there(self, client: SFTPClient) -> None:
        """Raises StoreUnreachableError if the folder itself is missing, as an unmounted one is."""
        if not await client.isdir(self._file("")):
            raise StoreUnreachableError(
                f"the folder of {self.url} is missing; check the server's disk or mount"
            )

    def _not_stored(self, name: str) -> NotStoredError:
        return NotStoredError(f"{self.url} holds no {name}; names() lists what it holds")
