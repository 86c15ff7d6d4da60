"""Free disk space: how much there is, and an early error if it is too little."""

from __future__ import annotations

import shutil
from pathlib import Path

from tune_app.formats import size


def free_bytes(path: Path) -> int:
    """Free bytes on the disk of `path`, which need not exist yet.

    Raises OSError if the disk cannot be queried.
    """
    there = path.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def require_free(path: Path, needed: int, what: str) -> None:
    """Raises ValueError if fewer than `needed` bytes are free for `what`."""
    free = free_bytes(path)
    if free < needed:
        raise ValueError(
            f"{path} has {size(free)} free, but {what} needs {size(needed)}; "
            "make room there, or choose a folder on another disk"
        )
