"""Removes superseded checkpoints for trials whose store lets them add, and remove nothing.

Then workers cannot spoil what others have saved, and the driver has the only key that removes. The
trial says which checkpoint it has written, and what stays beside it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from typing_extensions import Self

from tune_app.stores.base import Store
from tune_app.trial.checkpoints import Checkpoints, Superseding

logger = logging.getLogger(__name__)


class Superseded:
    """Prunes cells in a thread of its own; a context manager, which ends when all are done.

    Args:
        open_store: the driver's store; called when it is first needed.
        keep_best: how many of a cell's best checkpoints are kept as well.
    """

    def __init__(self, open_store: Callable[[], Store], *, keep_best: int) -> None:
        self._open_store = open_store
        self._keep_best = keep_best
        self._store: Store | None = None
        self._lock = threading.Lock()
        self._asked: dict[str, Superseding] = {}
        """By cell: the newest that is waiting."""
        self._thread = ThreadPoolExecutor(1, "superseded checkpoints")
        self._has_warned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown()
        if self._store is not None:
            self._store.close()

    def prune(self, cell: str, after: Superseding) -> None:
        """Has what this checkpoint of a cell supersedes removed; returns at once."""
        with self._lock:
            waits = cell in self._asked
            self._asked[cell] = after
        if not waits:
            self._thread.submit(self._prune, cell)

    def _prune(self, cell: str) -> None:
        with self._lock:
            after = self._asked.pop(cell)
        try:
            if self._store is None:
                self._store = self._open_store()
            # It removes nothing of another cell, whatever the trial says.
            checkpoints = Checkpoints(self._store, cell=cell, keep_best=self._keep_best)
            checkpoints.prune(after)
        except Exception:
            logger.exception("old checkpoints of %s stay because of a bug in this program", cell)
            return
        if checkpoints.unpruned is not None and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s lets neither trials nor this machine remove old checkpoints, which fill its "
                "disk; remove them there, or give this machine's key the right to",
                self._store.url,
            )
