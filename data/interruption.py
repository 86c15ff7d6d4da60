"""Makes work that ignores Ctrl-C interruptible."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_POLL = 0.1


def interruptible(work: Callable[[], T]) -> T:
    """Returns or raises what `work` does; a KeyboardInterrupt does not wait for it.

    The work runs in a daemon thread, which after an interrupt goes on until the process ends. Only
    for work that changes nothing outside memory, such as a library call that checks no signals.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised again below
            errors.append(error)

    thread = threading.Thread(target=run, name="interruptible work", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL)
    if errors:
        raise errors[0]
    return results[0]
