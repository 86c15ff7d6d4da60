"""The journal's file: opens it, locks it to one writer, and upgrades it completely or not at all.

The lock is a separate file beside the journal: readers must not be locked out, and SQLite's locks
are lost when another handle on the database is closed. The operating system releases it when the
process ends, even after a crash.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tune_app.journal.disk import free_bytes
from tune_app.journal.schema import SCHEMA_VERSION, upgrade, version_of

LOCK_PATIENCE = 0.2
"""Seconds: those who only ask for the lock hold it for a moment."""

ROOM = 8 << 20
"""Free bytes that a journal needs: its log grows to 4 MiB before it is merged into the file."""


class JournalError(ValueError):
    """The file is not a journal of Stellux, or cannot be read or written right now."""


class JournalFullError(OSError):
    """The disk is full. Nothing was written, and the write may be repeated."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            errno.ENOSPC, f"no room for the journal, which needs {ROOM:,} free bytes", str(folder)
        )
        self.folder = folder
        self.needed = ROOM


def lock_for_writing(path: Path) -> FileLock:
    """Takes the lock for writing the journal at `path`.

    Raises JournalError if another process holds it.
    """
    lock = FileLock(_lock_file(path), timeout=LOCK_PATIENCE, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise JournalError(
            f"{path} is being written by another process; wait for that sweep, end it with Ctrl-C "
            "there, or start this one under another --name"
        ) from None
    return lock


def is_being_written(path: Path) -> bool:
    """Whether a live process holds the lock for writing the journal at `path`.

    The operating system frees the lock of a process that was killed. Writes nothing.
    """
    try:
        file = os.open(_lock_file(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False  # it was never opened for writing here, as with a copy
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    else:
        return False
    finally:
        os.close(file)


def _lock_file(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Raises JournalError if the file is not a database, JournalFullError on a full disk."""
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=30,
        check_same_thread=False,
    )
    connection.row_factory = sqlite3.Row
    try:
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            # FULL: a row that was acknowledged survives a power cut, not only a crash.
            connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except sqlite3.DatabaseError as error:
        connection.close()
        if _is_full_disk(error, path):
            raise JournalFullError(path.parent) from error
        raise JournalError(f"{path} is not a readable journal ({error})") from error
    return connection


def require_journal(path: Path) -> None:
    """Raises JournalError if there is no file."""
    if not path.is_file():
        raise JournalError(f"there is no journal at {path}; start the sweep first")


def _require_readable(path: Path) -> None:
    """SQLite does not say why it cannot open a file.

    The file is not opened here: to close it would, as POSIX has it, drop the locks of every other
    connection that this process has to it, and another process could then take the log away.
    """
    if path.is_dir():
        raise JournalError(f"{path} cannot be read ({os.strerror(errno.EISDIR)})")
    if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise JournalError(f"{path} cannot be read ({os.strerror(errno.EACCES)})")


def open_existing(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """A connection to a journal, upgraded to this version if it is older.

    Opened for writing, the old file is first copied to `NAME.vVERSION`. Opened for reading, the
    file stays as it is and the upgrade is done in memory.

    Raises JournalError if the file is not a journal, or was written by a newer version.
    """
    _require_readable(path)
    connection = connect(path, read_only=read_only)
    try:
        if read_only and _needs_write_access(connection):
            connection.close()
            connection = _snapshot(path)
        version = _checked_version(path, connection)
        if version == SCHEMA_VERSION:
            return connection
        if read_only:
            connection = _in_memory(connection)
            with transaction(connection, path):
                upgrade(connection)
            connection.execute("PRAGMA query_only = ON")
            return connection
        _keep_copy(connection, path, version)
        with transaction(connection, path):
            upgrade(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _checked_version(path: Path, connection: sqlite3.Connection) -> int:
    try:
        version = version_of(connection)
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    except sqlite3.DatabaseError as error:
        raise JournalError(f"{path} is not a readable journal ({error})") from error
    if version > SCHEMA_VERSION:
        raise JournalError(
            f"{path} has schema version {version}, but this program knows {SCHEMA_VERSION}; "
            "use the newer Stellux that wrote it"
        )
    if "observations" not in tables or version < 1:
        raise JournalError(
            f"{path} holds no sweep (creating it was interrupted, or it is another database); "
            "move it away and start again"
        )
    return version


def _keep_copy(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Copies the database to `NAME.vVERSION` beside it, completely or not at all."""
    unfinished = path.with_name(f"{path.name}.v{version}.new")
    remove_database(unfinished)
    try:
        with closing(sqlite3.connect(unfinished)) as copy:
            connection.backup(copy)
    except sqlite3.OperationalError as error:
        remove_database(unfinished)
        if _is_full_disk(error, path):
            raise JournalFullError(path.parent) from error
        raise
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(path.with_name(f"{path.name}.v{version}"))


def _needs_write_access(connection: sqlite3.Connection) -> bool:
    """Whether SQLite cannot read the file because it may not create files beside it.

    A database with a write-ahead log has an index beside it, which SQLite creates even to read. In
    the folder of another user and on a read-only disk it cannot.
    """
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema")
    except sqlite3.OperationalError as error:
        return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
    except sqlite3.DatabaseError:
        return False
    return False


def _snapshot(path: Path) -> sqlite3.Connection:
    """The journal as it is now, in memory; nothing is written beside it.

    Raises JournalError if the file cannot be read, or the temporary folder cannot be written.
    """
    try:
        log = _log_of(path)
        if not log.exists() or log.stat().st_size == 0:
            return _only_read(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True))
        with tempfile.TemporaryDirectory(prefix="stellux-journal-") as scratch:
            copy = Path(scratch) / path.name
            _copy_with_log(path, copy)
            return _only_read(sqlite3.connect(copy))
    except (OSError, sqlite3.DatabaseError) as error:
        raise JournalError(f"{path} cannot be read ({error})") from error


def _copy_with_log(path: Path, copy: Path) -> None:
    """Copies a database and its log, even beside a writer.

    A log that grows meanwhile does no harm: SQLite reads it up to the last whole transaction. If
    parts of it were moved into the database, the copy is made again.
    """
    while True:
        before = path.stat()
        shutil.copyfile(path, copy)
        shutil.copyfile(_log_of(path), _log_of(copy))
        after = path.stat()
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
            return


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _only_read(connection: sqlite3.Connection) -> sqlite3.Connection:
    memory = _in_memory(connection)
    memory.execute("PRAGMA query_only = ON")
    return memory


def _in_memory(connection: sqlite3.Connection) -> sqlite3.Connection:
    """A copy in memory; the connection is closed."""
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    memory.row_factory = sqlite3.Row
    with closing(connection):
        connection.backup(memory)
    return memory


def remove_database(path: Path) -> None:
    """Removes the database that an interrupted process left at `path`, with its log."""
    for leftover in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        leftover.unlink(missing_ok=True)


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Afterwards everything is on the disk, or nothing is and the error is raised.

    path: of the journal, named by the JournalFullError that a full disk raises.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException as error:
        # SQLite may have rolled back by itself where the disk was full.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if _is_full_disk(error, path):
            raise JournalFullError(path.parent) from error
        raise


def _is_full_disk(error: BaseException, path: Path) -> bool:
    """Some SQLite calls report a full disk as a plain I/O error, so free space is checked too."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return free_bytes(path.parent) < ROOM
    return code == sqlite3.SQLITE_FULL
