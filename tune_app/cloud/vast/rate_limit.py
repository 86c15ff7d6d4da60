"""Keeps the time between calls that an API requires, per endpoint."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from tune_app.cloud.errors import RateLimitedError

SECONDS_BETWEEN: Mapping[str, float] = {
    "search": 1.0,
    "create": 4.5,
    "destroy": 3.0,
    "list": 1.0,
    "show": 2.0,
    "charges": 1.0,
    "user": 1.0,
}
"""Vast.ai's documented limits; it documents none for search and user."""


class RateLimit:
    """Lets calls to an endpoint pass no faster than the API allows. Thread-safe."""

    def __init__(
        self,
        seconds_between: Mapping[str, float] = SECONDS_BETWEEN,
        *,
        margin_s: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """
        Args:
            margin_s: added to each; two calls may arrive closer together than they were sent.
        """
        self._between = {name: between + margin_s for name, between in seconds_between.items()}
        self._clock = clock
        self._sleep = sleep
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()

    def wait(self, endpoint: str, *, at_most: float | None = None) -> None:
        """Waits for this caller's turn.

        Raises RateLimitedError, and takes no turn, if that would take over `at_most` seconds.
        """
        with self._lock:
            now = self._clock()
            turn = max(now, self._next.get(endpoint, now))
            if at_most is not None and turn - now > at_most:
                raise RateLimitedError(
                    f"{endpoint} is {turn - now:.1f} s away from its turn, "
                    f"more than the {at_most:.1f} s that are left; try again later"
                )
            self._next[endpoint] = turn + self._between.get(endpoint, 0.0)
        if turn > now:
            self._sleep(turn - now)

    def push_back(self, endpoint: str, seconds: float) -> None:
        """No turn for this endpoint in the next `seconds`: the API found the calls too fast."""
        with self._lock:
            self._next[endpoint] = max(self._next.get(endpoint, 0.0), self._clock() + seconds)
