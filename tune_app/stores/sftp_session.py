"""SFTP over one connection: opens it when needed, detects stalls, explains failures."""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import asyncssh
from asyncssh import SFTPClient

from tune_app.stores import naming
from tune_app.stores.base import (
    StoreError,
    StoreFullError,
    StoreRefusedError,
    StoreUnreachableError,
)
from tune_app.stores.ssh import SshAddress, connect

T = TypeVar("T")
Operation = Callable[[SFTPClient], Awaitable[T]]

NOT_THERE = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)

_LOST = (
    asyncssh.DisconnectError,
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPNoConnection,
    ConnectionError,
)
_FULL = (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded)
_NOT_ALLOWED = (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect)

_COMPARED = 32 * 2**20
"""Bytes that are compared at a time."""
_BYTES_IN_FLIGHT = 8 * 2**20
_MOST_REQUESTS = 64
_READ_ONLY = 1  # flag of statvfs@openssh.com


class _StalledError(Exception):
    """The server acknowledged nothing for too long."""


@dataclass(kw_only=True)
class Upload:
    """A file that is being written under a temporary name."""

    file: asyncssh.SFTPClientFile
    temporary: str
    path: str
    bytes: int = 0
    """Written so far."""


@dataclass(frozen=True, kw_only=True)
class FileThere:
    """A file on the server."""

    modified: int
    """Seconds, on the server's clock."""
    links: int
    """Names that it has; 1 where the server does not say."""

    @classmethod
    def of(cls, entry: asyncssh.SFTPName) -> FileThere:
        # Version 3 of the protocol has no field for it; OpenSSH sends it in the line of `ls -l`.
        words = str(entry.longname).split(maxsplit=2)
        links = int(words[1]) if len(words) > 1 and words[1].isdecimal() else 1
        return cls(modified=entry.attrs.mtime or 0, links=links)


class SftpSession:
    """Runs operations on the server's files, one at a time. Lives in one event loop.

    Args:
        folder: folder of the store; "" is the home folder.
        label: name of the store in messages.
        read_only_files: see `SftpStore`.
        connect_timeout: seconds allowed for connecting.
        stall_timeout: seconds after which a server that acknowledges nothing counts as stalled.
    """

    def __init__(
        self,
        address: SshAddress,
        *,
        folder: str,
        label: str,
        read_only_files: bool,
        connect_timeout: float,
        stall_timeout: float,
    ) -> None:
        self._address = address
        self._folder = folder
        self._label = label
        # The server's mask takes away from it.
        self._attributes = asyncssh.SFTPAttrs(permissions=0o444 if read_only_files else None)
        self._connect_timeout = connect_timeout
        self._stall_timeout = stall_timeout
        self._connection: asyncssh.SSHClientConnection | None = None
        self._client: SFTPClient | None = None
        self._last_acknowledged = 0.0
        self._temporaries: set[str] = set()

    async def run(self, what: str, operation: Operation[T], *, needed: int = 0) -> T:
        """Runs an operation. Raises StoreError; the next call then reconnects.

        Args:
            what: start of the message if it fails: "cannot read 1.pt".
            needed: bytes that the operation writes.
        """

        async def explained(client: SFTPClient) -> T:
            try:
                return await operation(client)
            except asyncssh.SFTPError as error:
                if isinstance(error, _LOST):
                    raise
                # Ask before removing half-written files, which frees space.
                reason = await self._explain(client, error, what, needed)
                await self._remove_temporaries(client)
                raise reason from error

        try:
            reused = self._connection is not None and not self._connection.is_closed()
            try:
                return await self._watched(explained)
            except _LOST:
                # The server may be fine again if the connection was lost between two calls.
                if not reused:
                    raise
                self.disconnect()
                return await self._watched(explained)
        except StoreError:
            raise
        except _StalledError:
            self.disconnect()
            reason = f"nothing was acknowledged for {self._stall_timeout:g} s"
        except (OSError, asyncssh.Error) as error:
            self.disconnect()
            reason = f"the connection was lost ({str(error).strip() or type(error).__name__})"
        except BaseException:
            self.disconnect()
            raise
        raise StoreUnreachableError(
            f"{self._label}: {what}: {reason}; check that the server runs and the network holds"
        )

    async def close(self) -> None:
        """Ends the connection, if there is one."""
        connection = self._connection
        self.disconnect()
        if connection is not None:
            await connection.wait_closed()

    def disconnect(self) -> None:
        """Aborts the connection, if there is one."""
        if self._connection is not None:
            self._connection.abort()
        self._connection = self._client = None

    async def write(self, client: SFTPClient, path: str, content: memoryview) -> None:
        """Writes a file under a temporary name, and renames it once it is on the server's disk."""
        upload = await self.begin(client, path)
        try:
            await self.append(client, upload, content)
        except BaseException:
            await upload.file.close()
            raise
        await self.finish(client, upload)

    async def begin(self, client: SFTPClient, path: str) -> Upload:
        """Opens a file under a temporary name; `finish` or `drop` closes it."""
        temporary = naming.temporary(path)
        self._temporaries.add(temporary)
        try:
            file = await client.open(temporary, "xb", self._attributes)
        except NOT_THERE:
            await client.makedirs(posixpath.dirname(path), exist_ok=True)
            file = await client.open(temporary, "xb", self._attributes)
        return Upload(file=file, temporary=temporary, path=path)

    async def append(self, client: SFTPClient, upload: Upload, content: memoryview) -> None:
        """Writes a piece behind those that were written."""
        blocks = _blocks(len(content), client.limits.max_write_len)

        async def send() -> None:
            for start, end in blocks:
                await upload.file.write(bytes(content[start:end]), upload.bytes + start)
                self._acknowledged()

        await _together(send, client.limits.max_write_len)
        upload.bytes += len(content)

    async def finish(self, client: SFTPClient, upload: Upload) -> None:
        """Closes the file and gives it its name, once it is on the server's disk."""
        try:
            with suppress(asyncssh.SFTPOpUnsupported):
                await upload.file.fsync()
        finally:
            await upload.file.close()
        self._acknowledged()
        try:
            await client.posix_rename(upload.temporary, upload.path)
        except (asyncssh.SFTPOpUnsupported, *_NOT_ALLOWED):
            # Servers before OpenSSH 8.5 offer it to all, and then refuse it.
            await self._link(client, upload)
        self._temporaries.discard(upload.temporary)

    async def _link(self, client: SFTPClient, upload: Upload) -> None:
        """Gives the file its name where this user may only add: its temporary name stays as well.

        Raises StoreRefusedError if another file has the name.
        """
        try:
            await client.link(upload.temporary, upload.path)
        except asyncssh.SFTPFailure:
            if not await client.exists(upload.path):
                raise
            if not await self._same(client, upload):
                raise StoreRefusedError(
                    f"{self._label}: {upload.path} is there already, and {self._address.user} may "
                    "only add files; choose another name, or remove it there"
                ) from None

    async def _same(self, client: SFTPClient, upload: Upload) -> bool:
        """Whether the file that has the name is, byte for byte, the one that was written."""
        for start in range(0, upload.bytes + 1, _COMPARED):
            mine, other = [
                await self.read(client, path, start=start, most=_COMPARED)
                for path in (upload.temporary, upload.path)
            ]
            if mine != other:
                return False
        return True

    async def drop(self, client: SFTPClient, upload: Upload) -> None:
        """Closes and removes a file that is not finished."""
        with suppress(asyncssh.Error, OSError):
            await upload.file.close()
        if upload.temporary in self._temporaries:
            with suppress(*_NOT_ALLOWED):
                await self.remove(client, upload.temporary)
            self._temporaries.discard(upload.temporary)

    async def read(
        self, client: SFTPClient, path: str, *, start: int = 0, most: int | None = None
    ) -> bytes:
        """Reads a file, or at most so many bytes of it from `start` on.

        Within one call consistently, even if the file is replaced in the meantime.
        """
        async with client.open(path, "rb") as file:
            size = max(0, ((await file.stat()).size or 0) - start)
            size = size if most is None else min(size, most)
            content = bytearray(size)
            blocks = _blocks(size, client.limits.max_read_len)

            async def receive() -> None:
                for begin, end in blocks:
                    part = await file.read(end - begin, start + begin)
                    assert isinstance(part, bytes), "a file opened without an encoding"
                    if len(part) != end - begin:
                        raise asyncssh.SFTPFailure("the file is shorter than its reported size")
                    content[begin:end] = part
                    self._acknowledged()

            await _together(receive, client.limits.max_read_len)
        return bytes(content)

    async def files(self, client: SFTPClient, folder: str) -> dict[str, FileThere]:
        """The files in a folder, by name."""
        found: dict[str, FileThere] = {}
        with suppress(*NOT_THERE):
            entries: AsyncIterator[asyncssh.SFTPName] = client.scandir(folder)
            async for entry in entries:
                self._acknowledged()
                if entry.attrs.type == asyncssh.FILEXFER_TYPE_REGULAR:
                    found[str(entry.filename)] = FileThere.of(entry)
        return found

    async def remove(self, client: SFTPClient, path: str) -> None:
        """Removes a file; does nothing if it does not exist."""
        with suppress(*NOT_THERE):
            await client.remove(path)
        self._acknowledged()

    async def time(self, client: SFTPClient, folder: str) -> int:
        """The server's clock, which may differ from ours, read from a file created there now."""
        path = naming.temporary(posixpath.join(folder, "clock"))
        self._temporaries.add(path)
        async with client.open(path, "xb") as file:
            now = (await file.stat()).mtime
        await self._remove_temporaries(client)
        assert now is not None
        return now

    async def room(self, client: SFTPClient) -> asyncssh.SFTPVFSAttrs:
        """The file system that holds the store, or that will once it is created."""
        folder = self._folder
        while True:
            try:
                return await client.statvfs(folder or ".")
            except NOT_THERE:
                if folder in ("", "/"):
                    raise
                folder = posixpath.dirname(folder)

    def _acknowledged(self) -> None:
        self._last_acknowledged = asyncio.get_running_loop().time()

    async def _watched(self, operation: Operation[T]) -> T:
        """Connects and runs an operation as long as the server keeps acknowledging."""
        client = await self._connected()
        loop = asyncio.get_running_loop()
        self._acknowledged()
        task = asyncio.ensure_future(operation(client))
        try:
            while True:
                left = self._last_acknowledged + self._stall_timeout - loop.time()
                if left <= 0:
                    raise _StalledError
                done, _ = await asyncio.wait({task}, timeout=left)
                if done:
                    return task.result()
        finally:
            if not task.done():
                # Its last requests get no answer, so abort the connection first.
                self.disconnect()
                task.cancel()
                await asyncio.wait({task})

    async def _connected(self) -> SFTPClient:
        if self._client is not None and self._connection is not None:
            if not self._connection.is_closed():
                return self._client
            self.disconnect()
        self._connection = await connect(self._address, timeout=self._connect_timeout)
        try:
            self._client = await asyncio.wait_for(
                self._connection.start_sftp_client(), self._connect_timeout
            )
        except (asyncssh.ChannelOpenError, asyncssh.SFTPError) as error:
            if isinstance(error, _LOST):
                raise
            raise StoreRefusedError(
                f"{self._label}: {self._address.user} can log in, but has no access to files "
                f"({error}); add 'Subsystem sftp internal-sftp' to its sshd_config"
            ) from error
        except TimeoutError:
            raise _StalledError from None
        await self._remove_temporaries(self._client)
        return self._client

    async def _remove_temporaries(self, client: SFTPClient) -> None:
        """Removes files left by failed writes, now or before the connection was lost."""
        for path in sorted(self._temporaries):
            with suppress(asyncssh.SFTPError):
                await self.remove(client, path)
        self._temporaries.clear()

    async def _explain(
        self, client: SFTPClient, error: asyncssh.SFTPError, what: str, needed: int
    ) -> StoreError:
        """Turns an error from the server into a StoreError; 'Failure' alone explains nothing."""
        failed = f"{self._label}: {what}"
        full = StoreFullError(f"{failed}: no space is left; make room there, or use another store")
        if isinstance(error, _FULL):
            return full
        if isinstance(error, _NOT_ALLOWED):
            return StoreRefusedError(
                f"{failed}: permission denied; give {self._address.user} write permission there"
            )
        if isinstance(error, asyncssh.SFTPOpUnsupported):
            return StoreRefusedError(
                f"{failed}: the server lacks an operation ({error.reason}); use OpenSSH's server"
            )
        with suppress(asyncssh.SFTPError):
            room = await self.room(client)
            if not room.bavail or room.bavail * room.frsize < needed:
                return full
            if room.flags & _READ_ONLY:
                return StoreRefusedError(
                    f"{failed}: its disk is mounted read-only; remount it, or use another store"
                )
        return StoreRefusedError(
            f"{failed}: the server says only {error.reason!r}; check for a quota, a bad disk or "
            "a file where a folder should be"
        )


def _blocks(size: int, block: int) -> Iterator[tuple[int, int]]:
    """Start and end of each block; one request transfers one block."""
    return ((start, min(start + block, size)) for start in range(0, size, block))


async def _together(work: Callable[[], Awaitable[None]], block: int) -> None:
    """Runs enough copies of a worker to keep the connection busy; an error cancels all."""
    workers = max(1, min(_MOST_REQUESTS, _BYTES_IN_FLIGHT // block))
    tasks = [asyncio.ensure_future(work()) for _ in range(workers)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
