"""How many machines may be asked for within a minute: a storm of launches must stay small."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tune_app.cloud.errors import RateLimitedError

MINUTE_S = 60.0


class LaunchPace:
    """The requests of the last minute. Thread-safe.

    Args:
        most: requests within a minute.
        clock: seconds.
    """

    def __init__(self, most: int, *, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._sent: dict[str, float] = {}
        self._lock = threading.Lock()

    def refuse_haste(self) -> None:
        """Raises RateLimitedError, with the time until the next one, if that was enough."""
        with self._lock:
            now = self._clock()
            self._sent = {name: at for name, at in self._sent.items() if now - MINUTE_S < at <= now}
            times = list(self._sent.values())
        if len(times) >= self._most:
            raise RateLimitedError(
                f"{len(times)} machines were asked for within the last minute, the limit "
                f"launches_per_minute is {self._most}; the next may be in "
                f"{times[-self._most] + MINUTE_S - now:.0f} s"
            )

    def sent(self, attempt: str) -> None:
        """Counts an attempt that is about to be sent."""
        with self._lock:
            self._sent[attempt] = self._clock()

    def not_sent(self, attempt: str) -> None:
        """Counts it no more: the market was not asked."""
        with self._lock:
            self._sent.pop(attempt, None)
