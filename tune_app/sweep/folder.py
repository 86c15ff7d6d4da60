"""The folder of a sweep, and its lock."""

from __future__ import annotations

import errno
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tune_app.journal.file import is_being_written

JOURNAL = "journal.sqlite3"
LOCK = "running.lock"
HOLDER = "running.json"
"""Says which process holds the lock."""


class SweepBusyError(ValueError):
    """Another process is running the sweep."""


def require_writable(folder: Path) -> None:
    """Raises OSError if the folder cannot be created or written to. Creates nothing."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise NotADirectoryError(
            errno.ENOTDIR, "not a folder; choose another --results", str(there)
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(
            errno.EACCES, "this user cannot write there; choose another --results", str(there)
        )


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds the sweep's lock. The operating system frees it however the process ends.

    Raises SweepBusyError, naming the process that holds it, and OSError if the folder cannot be
    created or written to.
    """
    require_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / HOLDER
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise SweepBusyError(
            f"the sweep in {folder} is already running{_describe(holder)}; "
            "wait for it, stop it with Ctrl-C there, or start this one under another --name"
        ) from None
    try:
        holder.write_text(
            json.dumps({"pid": os.getpid(), "host": platform.node(), "since": time.time()}),
            "utf-8",
        )
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def is_running(folder: Path) -> bool:
    """Whether a live process runs the sweep now: `Journal.is_driven`, without opening it."""
    return is_being_written(folder / JOURNAL)


def _describe(holder: Path) -> str:
    try:
        who = json.loads(holder.read_text("utf-8"))
        since = time.strftime("%H:%M:%S", time.localtime(who["since"]))
        return f" (process {who['pid']} on {who['host']}, since {since})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
