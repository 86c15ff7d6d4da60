"""The sign of life of the daemon, which the keeper passes on to workers.

It lies in memory (/run), so that a full disk ends no worker, and counts seconds since the machine's
start, so that a clock which is set neither kills nor saves one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FILE = "heartbeat"
"""Beside the daemon's socket."""


def since_boot() -> float:
    """Seconds since this machine's start, the same for all of its processes."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """A file with the time at which the daemon was last seen at work."""

    path: Path
    clock: Callable[[], float] = since_boot

    def beat(self) -> None:
        """Says that the rented machines are watched now. Raises OSError."""
        new = self.path.with_name(f"{self.path.name}.new")
        new.write_text(f"{self.clock():.0f}\n", "ascii")
        new.replace(self.path)

    def age_s(self) -> int | None:
        """Seconds since the last one; None if there was none since the machine's start."""
        try:
            age = self.clock() - float(self.path.read_text("ascii"))
        except (OSError, ValueError):
            return None
        # Rounded to whole seconds, it may be a little ahead.
        return None if age < -1 else max(0, round(age))
