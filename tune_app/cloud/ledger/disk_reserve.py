"""A reserve of disk space, freed for the ledger when the disk is full."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

RESERVE = "ballast"
"""Its name on heads of every version."""
RESERVE_BYTES = 4 * 2**20


def keep_reserve(folder: Path) -> None:
    """Reserves the space, unless it is reserved already or the disk is full."""
    path = folder / RESERVE
    if path.exists():
        return
    temporary = folder / f".{RESERVE}"
    try:
        with temporary.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        temporary.replace(path)
    except OSError as error:
        logger.warning("no reserve of disk space in %s: %s", folder, error)
        with suppress(OSError):
            temporary.unlink()


def free_reserve(folder: Path) -> bool:
    """Frees the reserve; returns whether there was one."""
    try:
        (folder / RESERVE).unlink()
    except OSError:
        return False
    logger.warning(
        "the disk of %s is full; %d MiB of reserve are freed", folder, RESERVE_BYTES // 2**20
    )
    return True
