"""Destroys workers whose link is lost: turns verdicts on links into actions of the rentals.

A verdict names a worker's number, which may have another owner by then. So a verdict counts only
against an instance whose own link was seen open.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

from tune_app.cloud.errors import CloudError
from tune_app.cloud.ledger.endings import Ending, taken_away
from tune_app.cloud.overlay.verdicts import LinkVerdict
from tune_app.cloud.overlay.watch import LinkWatch

logger = logging.getLogger(__name__)

AT_ONCE = 4
STOP_S = 10.0


class Renting(Protocol):
    """The part of `Rentals` that is needed here."""

    def loaded(self) -> Mapping[int, int]:
        """k and contract of all instances whose container has run, and that are to stay."""

    def condemn(self, contract: int, ending: Ending) -> None:
        """Writes that an instance is to be destroyed. Quick."""

    def destroy(self, contract: int, reason: str) -> bool:
        """Destroys it. May take as long as the API does."""


def linked(
    before: Mapping[int, int], verdicts: Mapping[int, LinkVerdict], loaded: Mapping[int, int]
) -> dict[int, int]:
    """k and contract of the instance whose link was seen open last under this number.

    Args:
        before: the same, as of the last look.
        loaded: k and contract of those that run.
    """
    now = {k: loaded[k] for k, verdict in verdicts.items() if verdict.is_open and k in loaded}
    return {**before, **now}


def lost(
    verdicts: Mapping[int, LinkVerdict], linked: Mapping[int, int], loaded: Mapping[int, int]
) -> dict[int, str]:
    """Contracts to destroy, with the reason: their own link was open once, and is lost or broken.

    A fault of the head loses no link, and an instance that is still loading has none to lose.
    """
    return {
        loaded[k]: verdict.reason
        for k, verdict in verdicts.items()
        if verdict.gives_up and k in loaded and linked.get(k) == loaded[k]
    }


class LostWorkers:
    """Destroys lost workers, once each, without making the watch wait for the API."""

    def __init__(self, rentals: Renting) -> None:
        self._rentals = rentals
        self._linked: dict[int, int] = {}
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="lost")

    def act(self, verdicts: Mapping[int, LinkVerdict]) -> None:
        """Acts on the verdicts of one check. Not thread-safe."""
        loaded = self._rentals.loaded()
        self._linked = linked(self._linked, verdicts, loaded)
        for contract, reason in lost(verdicts, self._linked, loaded).items():
            logger.warning("instance %d is lost: %s", contract, reason)
            # Recorded first: it no longer counts as loaded, and a new daemon would destroy it.
            self._rentals.condemn(contract, taken_away(reason))
            self._pool.submit(self._destroy, contract, reason)

    def close(self) -> None:
        """Returns when started destructions are done; the next step does the others."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _destroy(self, contract: int, reason: str) -> None:
        try:
            self._rentals.destroy(contract, reason)
        except CloudError as error:
            logger.warning("instance %d is not destroyed yet: %s", contract, error)
        except Exception:
            logger.exception("a bug")


@contextmanager
def ending_lost(watch: LinkWatch, rentals: Renting) -> Iterator[None]:
    """Watches links in a thread of its own, and ends who is lost."""
    stop = threading.Event()
    workers = LostWorkers(rentals)
    thread = threading.Thread(
        target=watch.run, args=[stop], kwargs={"then": workers.act}, name="links", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(STOP_S)
        workers.close()
