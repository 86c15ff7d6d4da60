"""Time for what costs money: it runs steadily, and a wrong clock of the head's does not move it.

Imports nothing of the project.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

TOLERANCE_S = 60.0
"""An answer's way takes a while, and its header counts whole seconds."""


def _since_boot() -> float:
    """Seconds that nobody sets; time in which the machine sleeps counts."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """Seconds since 1970, set once by the head's clock and from then on by those who bill.

    Thread-safe. It goes backwards only while nobody has confirmed it: before the first answer of
    the market's, a clock of the head's that is a day ahead must be set back; afterwards a step back
    would lose time that is billed.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = _since_boot,
    ) -> None:
        self._steady = steady
        self._offset = wall() - steady()
        self._doubted: float | None = None
        self._confirmed = False
        self._lock = threading.Lock()

    def __call__(self) -> float:
        with self._lock:
            return self._steady() + self._offset

    def heard(self, told: float) -> None:
        """What the market's own clock says now, in seconds since 1970.

        Within a minute it confirms this clock. Two answers in a row that agree with each other and
        not with this clock set it: one alone may be odd.
        """
        with self._lock:
            offset = told - self._steady()
            off = offset - self._offset
            if abs(off) <= TOLERANCE_S:
                self._doubted, self._confirmed = None, True
                return
            if self._doubted is None or abs(offset - self._doubted) > TOLERANCE_S:
                self._doubted = offset
                return
            self._doubted = None
            if off < 0 and self._confirmed:
                return
            self._offset, self._confirmed = offset, True
        logger.warning(
            "the head's clock is %.0f s %s the market's, whose time is used: see timedatectl",
            abs(off),
            "behind" if off > 0 else "ahead of",
        )
