"""Ends a process whose step hangs: it would hold its machine, which is paid for, for ever."""

from __future__ import annotations

import faulthandler
from types import TracebackType

STDERR = 2


class HangWatchdog:
    """Ends this process if what it surrounds takes too long; where it stood goes to stderr.

    By a thread of the interpreter's own (faulthandler), which needs no lock that a call into a
    broken GPU driver may hold. Tune sees a lost process: the cell continues elsewhere from its
    checkpoint, and the failure counts as the host's.

    Args:
        limit_s: for one use. One at a time in a process.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s

    def __enter__(self) -> None:
        faulthandler.dump_traceback_later(self._limit_s, exit=True, file=STDERR)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        faulthandler.cancel_dump_traceback_later()
