"""What a driver asks of the daemon that rents the cluster's machines, in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Protocol, Self

from tune_app.dollars.bill import Bill

logger = logging.getLogger(__name__)

DRAIN_EVERY_S = 5.0
BILL_EVERY_S = 15.0


class DrainOrder(Protocol):
    """Whether all work has to be saved and paused now."""

    @property
    def wanted(self) -> bool: ...

    @property
    def number(self) -> int: ...

    @property
    def reason(self) -> str: ...

    @property
    def alerts(self) -> tuple[str, ...]:
        """What a person has to know now."""


class ClusterDaemon(Protocol):
    """The daemon, as `tune_app.cloud.daemon.client` reaches it. Methods raise OSError."""

    def bill(self, working: Iterable[int] = ()) -> Bill:
        """working: contracts of machines on which the driver's cells train."""

    def drain(self, driver: str) -> DrainOrder: ...

    def drained(self, driver: str, number: int) -> None: ...


class Inquiry:
    """Asks the daemon again and again, and keeps its newest answers. Use as a context manager.

    Args:
        driver: the name of this driver among all on the head.
        drain_every_s: seconds between two questions whether to drain.
        bill_every_s: seconds between two bills.
    """

    def __init__(
        self,
        daemon: ClusterDaemon,
        driver: str,
        *,
        drain_every_s: float = DRAIN_EVERY_S,
        bill_every_s: float = BILL_EVERY_S,
    ) -> None:
        self._daemon, self._driver = daemon, driver
        self._drain_every_s, self._bill_every_s = drain_every_s, bill_every_s
        self._bill: Bill | None = None
        self._order: DrainOrder | None = None
        self._said: set[str] = set()
        self._working: frozenset[int] = frozenset()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, name="daemon", daemon=True)

    def __enter__(self) -> Self:
        self.ask()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    @property
    def bill(self) -> Bill | None:
        """The newest one; None if none has come yet."""
        return self._bill

    @property
    def order(self) -> DrainOrder | None:
        """The newest answer if it wants a drain, else None."""
        order = self._order
        return order if order is not None and order.wanted else None

    def trains_on(self, contract: int) -> None:
        """Notes a machine on which a cell trains, so that the daemon knows how long it took."""
        # A new set: the other thread may be reading this one.
        self._working = self._working | {contract}

    def ask(self) -> None:
        """Asks for both now. A daemon that does not answer leaves the answers as they are."""
        self._ask_whether_to_drain()
        self.ask_for_the_bill()

    def saved(self) -> None:
        """Tells the daemon that all cells are saved and paused, if it wants that."""
        order = self.order
        if order is None:
            return
        try:
            self._daemon.drained(self._driver, order.number)
        except OSError as error:
            # It ends the machines all the same, a little later.
            logger.warning("the daemon could not be told that all cells are saved: %s", error)

    def _ask_on(self) -> None:
        billed_at = time.monotonic()
        while not self._ended.wait(self._drain_every_s):
            self._ask_whether_to_drain()
            if time.monotonic() - billed_at >= self._bill_every_s:
                billed_at = time.monotonic()
                self.ask_for_the_bill()

    def _ask_whether_to_drain(self) -> None:
        try:
            self._order = self._daemon.drain(self._driver)
        except OSError as error:
            self._say(f"the cluster's daemon does not say whether to save: {error}")
            return
        for alert in self._order.alerts:
            self._say(alert)

    def ask_for_the_bill(self) -> None:
        """Asks for the newest one now."""
        try:
            self._bill = self._daemon.bill(self._working)
        except OSError as error:
            self._say(f"the cluster's daemon does not say what machines cost: {error}")

    def _say(self, text: str) -> None:
        """Logs a warning, each text once."""
        if text not in self._said:
            self._said.add(text)
            logger.warning("%s", text)
