"""The drain that is under way: kept in the ledger, so that a killed daemon continues it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from tune_app.cloud.errors import CloudError
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.renting.budget import Budget
from tune_app.cloud.renting.drain import Cause, Drain, Phase, Seen, next_drain
from tune_app.cloud.steady_clock import SteadyClock

DRIVER_S = 60.0
"""A driver that did not ask for this long is gone: it has nothing to save any more."""

logger = logging.getLogger(__name__)


class Drains:
    """Who asked for what, and the drain that follows from it. Thread-safe."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        unasked_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            unasked_s: for this long nobody may ask for the list of workers while there are any.
        """
        self._ledger = ledger
        self._unasked_s = unasked_s
        self._clock = clock
        # A corrected clock must not look like a quarter of an hour without a question.
        real = clock is time.time or isinstance(clock, SteadyClock)
        # Neither the head's clock nor its correction by the market's may look like silence.
        self._steady = time.monotonic if real else clock
        self._started = self._asked_at = self._steady()
        self._drivers: dict[str, float] = {}
        self._saved: dict[str, int] = {}
        self._lock = threading.Lock()
        self._current = self._read()
        self._number = ledger.last_drain()
        self._written = True

    def asked(self) -> None:
        """Somebody asked for the list of workers, or for a worker."""
        self._asked_at = self._steady()

    def driver_asked(self, driver: str) -> Drain | None:
        """A driver is there. Returns the drain under way, if there is one."""
        with self._lock:
            self._drivers[driver] = self._steady()
        return self.current()

    def driver_saved(self, driver: str, number: int) -> None:
        """A driver's work is saved, for the drain with this number."""
        with self._lock:
            self._drivers[driver] = self._steady()
            self._saved[driver] = number
        logger.info("%s has saved its work, for drain %d", driver, number)

    def current(self) -> Drain | None:
        """The drain that is not over."""
        drain = self._current
        return None if drain is None or drain.over else drain

    def step(self, budget: Budget, *, empty: bool) -> Drain | None:
        """Decides and records. Returns the drain under way.

        Args:
            empty: whether the last list showed no instance, and no request is pending.

        A ledger that cannot be written stops no drain: the next step writes it.
        """
        before = self.current()
        after = next_drain(
            before, self._seen(before, budget, empty=empty), unasked_limit_s=self._unasked_s
        )
        if after is not None and after != before:
            if not after.number:
                self._number += 1
                after = replace(after, number=self._number)
            self._current, self._written = after, False
            if after.over:
                logger.info("the drain is over: %s", after.reason)
            else:
                logger.warning("drain, %s: %s", after.phase.value, after.reason)
        if not self._written and self._current is not None:
            try:
                self._ledger.write_drain(**_row(self._current))
            except CloudError as error:
                logger.warning("the drain is not written yet: %s", error)
            else:
                self._written = True
        return self.current()

    def _read(self) -> Drain | None:
        row = self._ledger.drain()
        if row is None:
            return None
        values = {name: row[name] for name in row if name != "is_over"}
        values |= {"cause": Cause(row["cause"]), "phase": Phase(row["phase"])}
        return Drain(**values | {"saved": bool(row["saved"]), "over": bool(row["is_over"])})

    def _seen(self, drain: Drain | None, budget: Budget, *, empty: bool) -> Seen:
        steady = self._steady()
        with self._lock:
            self._drivers = {
                name: at for name, at in self._drivers.items() if steady - at <= DRIVER_S
            }
            number = 0 if drain is None else drain.number
            # What was told for a drain that is over counts for no other.
            self._saved = {name: told for name, told in self._saved.items() if told == number}
            told = [name for name in self._drivers if name in self._saved]
            return Seen(
                now=self._clock(),
                budget=budget,
                unasked_s=steady - self._asked_at,
                drivers=len(self._drivers),
                saved=bool(told) and len(told) == len(self._drivers),
                drivers_unknown=steady - self._started < DRIVER_S,
                empty=empty,
            )


def _row(drain: Drain) -> dict[str, Any]:
    """As the ledger's table has it."""
    values = asdict(drain)
    values |= {"cause": drain.cause.value, "phase": drain.phase.value, "saved": int(drain.saved)}
    values["is_over"] = int(values.pop("over"))
    return values
