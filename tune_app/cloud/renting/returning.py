"""Gives rented machines back: condemned, destroyed, gone.

What is condemned is in the ledger before it is destroyed. Where the ledger cannot be written it is
remembered, and destroyed all the same.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tune_app.cloud.errors import CloudError
from tune_app.cloud.ledger.endings import Ending, returned
from tune_app.cloud.ledger.ledger import Ledger
from tune_app.cloud.market.protocol import Market

logger = logging.getLogger(__name__)


class Returning:
    """The machines of one cluster that are to be given back. Thread-safe.

    Args:
        revoke: takes a worker's keys away, by its number.
        forget: told of each contract that is gone.

    Attributes:
        unwritten: the last failure to write the ledger; for whoever takes a step to reset.
    """

    def __init__(
        self,
        market: Market,
        ledger: Ledger,
        *,
        revoke: Callable[[int], object],
        forget: Callable[[int], object],
    ) -> None:
        self._market = market
        self._ledger = ledger
        self._revoke = revoke
        self._forget = forget
        self._condemned: dict[int, Ending] = {}
        self._ending = threading.Lock()
        self.unwritten: CloudError | None = None

    def due(self) -> list[int]:
        """Contracts that are to be destroyed."""
        doomed = [rental.contract for rental in self._ledger.live() if rental.doomed]
        return list(dict.fromkeys([*doomed, *self._condemned]))

    def is_remembered(self, contract: int) -> bool:
        """Whether an instance is to be destroyed that the ledger does not call doomed."""
        return contract in self._condemned

    def remember(self, contract: int, ending: Ending) -> None:
        """Marks an instance to be destroyed, whatever becomes of the ledger. The first ending is
        kept."""
        self._condemned.setdefault(contract, ending)

    def condemn(self, contract: int, ending: Ending) -> None:
        """The same, in the ledger; if that cannot be written, it is remembered."""
        self.remember(contract, ending)
        with self.writing():
            self._ledger.doom(contract, ending)
            if self._ledger.rental(contract) is not None:
                self._condemned.pop(contract, None)

    def try_to_destroy(self, contract: int) -> bool:
        """Destroys an instance, if the market does. Returns whether it is gone."""
        rental = self._ledger.rental(contract)
        if rental is not None and rental.ended_at is not None:
            self._condemned.pop(contract, None)
            return True
        written = None if rental is None else rental.doom
        ending = written or self._condemned.get(contract, returned(""))
        try:
            self._market.destroy(contract)
        except CloudError as error:
            logger.warning("instance %d is not destroyed yet: %s", contract, error)
            return False
        logger.info("destroyed instance %d: %s", contract, ending)
        with self.writing():
            self.gone(contract, ending)
        return True

    def gone(self, contract: int, ending: Ending) -> None:
        """Records that an instance is gone.

        Args:
            ending: of one that was not to be destroyed.
        """
        # Two threads may find it gone: the second must not revoke the keys of the k's next owner.
        with self._ending:
            k = self._ledger.k_of(contract)
            if k is not None:
                # In this order: a freed k may be taken at once.
                self._revoke(k)
            if self._ledger.rental(contract) is not None:
                self._ledger.ended(contract, self._condemned.get(contract, ending))
            self._condemned.pop(contract, None)
            self._forget(contract)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A failed write must not stop a destruction; the next step tries to write again."""
        try:
            yield
        except OSError as error:
            problem = error if isinstance(error, CloudError) else CloudError(str(error))
            self.unwritten = problem
            logger.warning("%s", problem)
