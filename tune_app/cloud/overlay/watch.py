"""Looks at all links again and again, and says what each is worth."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

from tune_app.cloud.overlay.links import Links, answering, links
from tune_app.cloud.overlay.settings import OverlaySettings
from tune_app.cloud.overlay.verdicts import (
    History,
    LinkPatience,
    LinkState,
    LinkVerdict,
    Sight,
    judged,
    observed,
)

logger = logging.getLogger(__name__)


class LinkWatch:
    """The state of every link, as of the last look. Thread-safe.

    Args:
        look: what is open now; raises LinksUnknownError.
        ask: which of the open ones react.
        workers: those admitted now: others are forgotten.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        *,
        look: Callable[[], Links],
        ask: Callable[[frozenset[int]], frozenset[int]],
        workers: Callable[[], Iterable[int]],
        patience: LinkPatience | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._ask = ask
        self._workers = workers
        self.patience = patience or LinkPatience()
        self._clock = clock
        self._history = History()
        self._verdicts: dict[int, LinkVerdict] = {}
        self._known = False
        self._head_fault = False
        self._lock = threading.Lock()

    @classmethod
    def of(
        cls,
        settings: OverlaySettings,
        workers: Callable[[], Iterable[int]],
        *,
        patience: LinkPatience | None = None,
        answer_s: float | None = None,
    ) -> LinkWatch:
        """One of the links that are open on this machine.

        Args:
            patience: default the settings' own.
            answer_s: default the patience's own.
        """
        patience = patience or settings.patience
        timeout_s = patience.answer if answer_s is None else answer_s
        return cls(
            look=lambda: links(settings),
            ask=lambda open_now: answering(settings, open_now, timeout_s=timeout_s),
            workers=workers,
            patience=patience,
        )

    def step(self) -> dict[int, LinkVerdict]:
        """Looks once. Returns the verdict on every worker whose link was open before or is now.

        If the links cannot be seen, nothing changes and no state is known.
        """
        try:
            seen = self._look()
            workers = set(self._workers())
        except OSError as error:
            with self._lock:
                self._known = False
            logger.warning("%s", error)
            return {}
        open_now = seen.open & workers
        answered = self._ask(frozenset(open_now)) if open_now else frozenset()
        sights = {k: Sight(open=k in open_now, answers=k in answered) for k in workers}
        with self._lock:
            now = self._clock()
            history = observed(self._history, sights, now=now)
            self._history, verdicts = judged(
                history, now=now, patience=self.patience, server_up=seen.server_up
            )
            for k, verdict in verdicts.items():
                before = self._verdicts.get(k)
                if before is None or before.state is not verdict.state:
                    logger.info("worker %d's link: %s", k, verdict.reason)
            self._verdicts, self._known = verdicts, True
            self._head_fault = not seen.server_up or any(
                verdict.state is LinkState.HEAD for verdict in verdicts.values()
            )
            return dict(verdicts)

    def verdicts(self) -> dict[int, LinkVerdict]:
        """As of the last look."""
        with self._lock:
            return dict(self._verdicts)

    def link_up(self, k: int) -> bool | None:
        """Whether worker k's link is open, and not silent for too long; None if unknown.

        That of a worker whose link was never open is not up. Nobody is to blame for a fault of the
        head's, so nothing is known of workers then.
        """
        with self._lock:
            if not self._known:
                return None
            verdict = self._verdicts.get(k)
            if verdict is None:
                return None if self._head_fault else False
            return None if verdict.state is LinkState.HEAD else verdict.up

    def run(
        self,
        ended: threading.Event,
        *,
        every_s: float | None = None,
        then: Callable[[dict[int, LinkVerdict]], object] = lambda _: None,
    ) -> None:
        """Looks until `ended` is set; `then` acts on each look's verdicts.

        Args:
            every_s: between two looks; default the patience's own.
        """
        while not ended.is_set():
            try:
                then(self.step())
            except Exception:
                # A bug must not stop the watch.
                logger.exception("a bug")
            ended.wait(every_s or self.patience.look)
