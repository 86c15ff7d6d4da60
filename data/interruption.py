"""Work that cannot be interrupted by itself, done so that Ctrl-C is answered at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_POLL = 0.1


def interruptible(work: Callable[[], T]) -> T:
    """What `work` returns or raises; a KeyboardInterrupt does not wait for it.

    It is done in a thread of its own, which an interruption leaves behind until the process ends:
    for work that only changes what is in memory, such as a library's that never looks for signals.
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
