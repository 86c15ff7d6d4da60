"""Room on a disk: how much there is, and a refusal in time where it will not do."""

from __future__ import annotations

import shutil
from pathlib import Path

from tune_app.formats import size


def free_bytes(path: Path) -> int:
    """What may still be written where `path` lies, or will lie once it is made.

    Raises OSError where the disk cannot be asked.
    """
    there = path.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def require_free(path: Path, needed: int, what: str) -> None:
    """Raises ValueError where fewer than `needed` bytes are free for `what`."""
    free = free_bytes(path)
    if free < needed:
        raise ValueError(
            f"{path} has {size(free)} free, {what} needs {size(needed)}; "
            "make room there, or choose a folder on another disk"
        )
