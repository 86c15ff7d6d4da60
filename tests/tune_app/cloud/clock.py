"""A clock that moves when a test says so, or when somebody sleeps by it."""

from __future__ import annotations

import threading


class Clock:
    """Seconds since 1970, from an hour before noon UTC on."""

    def __init__(self, now: float = 1_780_000_000.0 // 86_400 * 86_400 + 11 * 3600) -> None:
        self.now = now
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds
