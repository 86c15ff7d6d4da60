"""What earlier starts of a head's Ray left on its disk: a folder each, which Ray never removes."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path

import psutil

logger = logging.getLogger(__name__)

KEPT = 2
"""Of the newest: their logs may show why Ray had to restart."""
OLD_S = 3600.0
"""Younger ones may belong to a Ray that has just begun to start."""


def remove_old_sessions(folder: Path, *, kept: int = KEPT, old_s: float = OLD_S) -> int:
    """Removes this user's old sessions in a folder, as far as no process uses them.

    Args:
        folder: of Ray's sessions, such as /tmp/ray.
        kept: so many of the newest stay.
        old_s: seconds since anything was last added to one.

    Returns how many there were.
    """
    sessions = sorted(path for path in folder.glob("session_2*") if _is_own(path))
    in_use = _used()
    removed = 0
    for path in sessions[: max(0, len(sessions) - kept)]:
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > old_s and path.name not in in_use:
                shutil.rmtree(path, ignore_errors=True)
                removed += 1
    if removed:
        logger.info("removed what %d earlier starts of Ray left in %s", removed, folder)
    return removed


def _is_own(path: Path) -> bool:
    """Whether it is a folder of this user's; a link may lead to anybody's."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _used() -> str:
    """Words that name the sessions in use: Ray's programs have them in their command lines."""
    words: list[str] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words += process.cmdline()
    with suppress(OSError):
        # Their sockets lie there, too; this also shows those of processes that it cannot see.
        words.append(Path("/proc/net/unix").read_text("utf-8", errors="replace"))
    return "\n".join(words)
