"""The cache of prepared corpora: each is built by one process in a temporary folder, then renamed.

`<key>/` is a prepared corpus, `<key>.stellux-partial/` is one that is being built, and
`<key>.lock` is held by the process that builds it. The kernel releases the lock when that process
ends, so a partial folder whose lock is free was left by a dead process.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from data.errors import CorpusError
from data.progress import Report

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "STELLUX_CACHE"

_PARTIAL = ".stellux-partial"
"""A suffix that nobody else uses: such folders are removed from the cache folder."""
_LOCK_POLL = 1.0


def default_cache() -> Path:
    """The folder in the environment variable STELLUX_CACHE, else `~/.cache/stellux`.

    Raises CorpusError if neither is there: a user without a home folder.
    """
    named = os.environ.get(CACHE_VARIABLE)
    try:
        return Path(named).expanduser() if named else Path.home() / ".cache" / "stellux"
    except RuntimeError as error:
        raise CorpusError(
            f"no folder for prepared corpora: this user has no home folder; set {CACHE_VARIABLE} "
            "to a folder, or set HOME"
        ) from error


@contextmanager
def only_one_builder(
    folder: Path, report: Report, *, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Holds the lock of a prepared corpus; waits, and says so, while another process has it.

    If `cancelled` becomes true while waiting, the block runs without the lock and must check that.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_lock_of(folder))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("another process is preparing this corpus (%s); waiting for it", folder)
        report("wait for another process", 0, 0)
        while not lock.is_locked and not cancelled():
            with suppress(Timeout):
                lock.acquire(timeout=_LOCK_POLL)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def built_whole(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` if the block succeeds, and is removed if it fails.

    The caller holds the lock. An earlier `folder` is replaced.
    """
    _remove_leftovers(folder)
    partial = folder.with_name(folder.name + _PARTIAL)
    partial.mkdir()
    try:
        yield partial
        _flush(partial)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _remove_leftovers(folder: Path) -> None:
    """Removes what dead builders left in the cache, for any corpus."""
    for partial in folder.parent.glob(f"*{_PARTIAL}"):
        owner = partial.with_name(partial.name.removesuffix(_PARTIAL))
        if owner == folder:
            shutil.rmtree(partial)
            continue
        lock = FileLock(_lock_of(owner))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue  # it is still being built
        try:
            shutil.rmtree(partial)
        finally:
            lock.release()
        logger.info("removed %s, left by an interrupted run", partial)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".lock")


def _flush(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
