"""A reserve of disk space, freed for the ledger when the disk is full."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

BALLAST = "ballast"
BALLAST_BYTES = 4 * 2**20


def keep_ballast(folder: Path) -> None:
    """Reserves the space, unless it is reserved already or the disk is full."""
    path = folder / BALLAST
    if path.exists():
        return
    temporary = folder / f".{BALLAST}"
    try:
        with temporary.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
        temporary.replace(path)
    except OSError as error:
        logger.warning("no reserve of disk space in %s: %s", folder, error)
        with suppress(OSError):
            temporary.unlink()


def drop_ballast(folder: Path) -> bool:
    """Frees the reserve; returns whether there was one."""
    try:
        (folder / BALLAST).unlink()
    except OSError:
        return False
    logger.warning(
        "the disk of %s is full; %d MiB of reserve are freed", folder, BALLAST_BYTES // 2**20
    )
    return True
