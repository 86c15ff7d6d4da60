"""When to warn that a sweep is waiting for machines: soon at first, then less and less often."""

from __future__ import annotations

from collections.abc import Callable

_SAID_AFTER = (300.0, 900.0)
_SAID_EVERY = 1_800.0


class Waiting:
    """Tracks how long no cell has been training.

    Args:
        clock: monotonic seconds.
        first: seconds before the first warning.
    """

    def __init__(self, clock: Callable[[], float], *, first: float = 20.0) -> None:
        self._said_after = (first, *_SAID_AFTER)
        self._clock = clock
        self._since: float | None = None
        self._said = 0

    def note(self, *, waits: bool) -> float | None:
        """Seconds that cells have been waiting, if a warning is due; else None.

        Args:
            waits: whether cells are waiting and none is running.
        """
        if not waits:
            self._since, self._said = None, 0
            return None
        now = self._clock()
        if self._since is None:
            self._since = now
        waited = now - self._since
        if waited < self._next():
            return None
        self._said += 1
        return waited

    def _next(self) -> float:
        after = self._said_after
        if self._said < len(after):
            return after[self._said]
        return after[-1] + _SAID_EVERY * (self._said - len(after) + 1)
