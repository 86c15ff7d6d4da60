"""Ids for the workers that Ray's launches ask for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tune_app.cloud.autoscaling.nodes import request_id


class Launches:
    """Launches whose calls are not all answered yet. Thread-safe.

    Args:
        most: workers that Ray asks for in one call; the rest of a launch it asks for in others.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._asking: dict[str, list[int]] = {}
        """Launch → how many workers each of its calls asks for."""

    @contextmanager
    def requests(self, launch: str, count: int) -> Iterator[list[str]]:
        """Ids for the workers of a launch.

        Repeated, it has the same ids, so that the daemon refuses or adopts. Only what Ray splits
        off has others: it asks at once for the rest of a launch whose other calls are full.
        """
        with self._lock:
            before = self._asking.setdefault(launch, [])
            first = sum(before) if set(before) == {self._most} else 0
            before.append(count)
        try:
            yield [request_id(launch, first + number) for number in range(1, count + 1)]
        finally:
            with self._lock:
                before.remove(count)
                if not before:
                    del self._asking[launch]
