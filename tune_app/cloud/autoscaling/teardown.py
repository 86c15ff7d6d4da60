"""What `ray down` does, step by step, as Ray asks for it again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from tune_app.cloud.daemon.client import DaemonClient
from tune_app.cloud.errors import CloudError
from tune_app.cloud.head.remote import shell_of, stop_services
from tune_app.cloud.head.shell import unreachable
from tune_app.cloud.head_machine.choose import Head, Say, found
from tune_app.cloud.head_machine.without_head import end, instances_of
from tune_app.cloud.market.protocol import Market
from tune_app.cloud.secrets.account_total import set_free


class Teardown:
    """Ends every worker, and the head when two checks, a while apart, have found none.

    Args:
        daemon: asked for when something may be rented.
        market: the market with the key from here, for a head that cannot be reached.
        looks_apart_s: between the two looks.
    """

    def __init__(
        self,
        cluster: str,
        head: Head,
        daemon: Callable[[], DaemonClient],
        market: Callable[[], AbstractContextManager[Market]],
        *,
        looks_apart_s: float,
        say: Say,
    ) -> None:
        self._cluster = cluster
        self._head = head
        self._daemon = daemon
        self._market = market
        self._looks_apart_s = looks_apart_s
        self._say = say
        self._stopped = self._told = False
        self._spent = 0.0
        self._empty_since: float | None = None
        self.done = False

    def step(self) -> None:
        """A look, and what follows from it. Raises ValueError and OSError as the head's do."""
        if self.done:
            return
        try:
            if self._head.never_rented() or self._is_empty():
                self._head.end(self._say)
                set_free(Path.home(), self._cluster, self._spent)
                self.done = True
        except OSError as error:
            if not unreachable(error):
                raise
            self._without_head(error)

    def _without_head(self, error: OSError) -> None:
        """Ends what carries the cluster's label, with the key that this machine has."""
        if not self._told:
            self._say(f"{error}. Its workers are ended from here, by their labels")
            self._told = True
        try:
            with self._market() as market:
                left = instances_of(market, self._cluster)
                end(market, left, self._say)
        except (OSError, ValueError) as trouble:
            raise CloudError(
                f"{error}. Nor can its workers be ended from here: {trouble}"
            ) from trouble
        if self._looked_empty(bool(left)):
            self._head.leave(error, self._say)
            self.done = True

    def _is_empty(self) -> bool:
        """Whether both looks found nothing. Asks for the end of what there is.

        Raises ValueError for a head that serves another cluster.
        """
        daemon = self._daemon()
        status = daemon.status()
        serves, self._spent = status.cluster, status.spent
        if serves != self._cluster:
            raise ValueError(
                f"the head serves the cluster {serves!r}, not {self._cluster!r}: see cluster_name"
            )
        # First: what waits for workers would have others rented. What bills ends all the same.
        trouble = self._stop_services()
        left = daemon.destroy_all("ray down")
        if trouble is not None:
            raise trouble
        return self._looked_empty(bool(left or daemon.status().in_flight))

    def _looked_empty(self, something: bool) -> bool:
        now = time.monotonic()
        if something:
            self._empty_since = None
            return False
        if self._empty_since is None:
            self._empty_since = now
        return now - self._empty_since >= self._looks_apart_s

    def _stop_services(self) -> OSError | None:
        """Once. What kept it from being done."""
        if not self._stopped:
            try:
                stop_services(shell_of(found(self._head)))
            except OSError as error:
                return error
            self._stopped = True
        return None
