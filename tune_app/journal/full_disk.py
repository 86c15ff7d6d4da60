"""A full disk pauses a sweep: the write is repeated until there is room."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from tune_app.formats import size
from tune_app.journal.disk import free_bytes
from tune_app.journal.file import JournalFullError

logger = logging.getLogger(__name__)

T = TypeVar("T")


def wait_until_written(
    call: Callable[[], T],
    *,
    still_wanted: Callable[[], bool],
    pause: float = 5.0,
    sleep: Callable[[float], object] = time.sleep,
    say: Callable[[str], object] = logger.warning,
) -> T:
    """Repeats a write to the journal until it succeeds; returns what the call returns.

    Args:
        call: the write. If it raises JournalFullError, it has written nothing.
        still_wanted: called before each pause; False once the user has ended the sweep.
        pause: seconds between two attempts.
        sleep: waits for the given seconds.
        say: called once when the sweep pauses, and once when it continues.

    Raises KeyboardInterrupt once the write is no longer wanted. Other errors propagate.
    """
    paused = False
    while True:
        try:
            written = call()
        except JournalFullError as error:
            if not paused:
                say(
                    f"the sweep is paused: {error.folder} has {size(free_bytes(error.folder))} "
                    f"free, its journal needs {size(error.needed)}; free some space to continue"
                )
            paused = True
            if not still_wanted():
                raise KeyboardInterrupt from error
            sleep(pause)
        else:
            if paused:
                say("there is room for the journal again; the sweep continues")
            return written
