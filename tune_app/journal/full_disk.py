"""A full disk pauses a sweep: what could not be written is written once there is room."""

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
    """Repeats one write to the journal until the disk takes it; returns what the call returns.

    Args:
        call: leaves nothing behind where it raises JournalFullError, and may be made again.
        still_wanted: asked before each pause; whether a person has not ended the sweep meanwhile.
        pause: seconds between two tries.
        sleep: waits for so many seconds.
        say: hears once that the sweep is paused, and once that it goes on.

    Raises KeyboardInterrupt once the write is no longer wanted. Other errors pass.
    """
    paused = False
    while True:
        try:
            written = call()
        except JournalFullError as error:
            if not paused:
                say(
                    f"the sweep is paused: {error.folder} has {size(free_bytes(error.folder))} "
                    f"free, its journal needs {size(error.needed)}; make room there, and it goes on"
                )
            paused = True
            if not still_wanted():
                raise KeyboardInterrupt from error
            sleep(pause)
        else:
            if paused:
                say("there is room for the journal again; the sweep goes on")
            return written
