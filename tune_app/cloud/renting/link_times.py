"""Since when the links of rented machines are closed."""

from __future__ import annotations

from collections.abc import Callable

from tune_app.cloud.ledger.ledger import Ledger


class LinkTimes:
    """By contract: the previous owner of a worker's number does not count.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._closed: dict[int, float] = {}
        self._opened: set[int] = set()

    def closed_since(self, contract: int, link_up: bool | None) -> float | None:
        """Since when an instance's link has been closed, without a break, after this look.

        Args:
            link_up: whether it is open now; what is unknown does not count as closed.
        """
        if link_up is False:
            return self._closed.setdefault(contract, self._clock())
        if link_up and contract not in self._opened:
            self._opened.add(contract)
            self._ledger.link_opened()
        self._closed.pop(contract, None)
        return None

    def was_open(self, contract: int) -> bool:
        """Whether an instance's link was ever seen open."""
        return contract in self._opened

    def forget(self, contract: int) -> None:
        """Of an instance that is gone."""
        self._closed.pop(contract, None)
        self._opened.discard(contract)
