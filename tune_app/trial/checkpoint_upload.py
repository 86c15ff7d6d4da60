"""Uploads checkpoints in the background: a copy in memory, then a thread that stores it.

Training waits only for the copy. One checkpoint is uploaded at a time; while the store cannot be
reached, the thread keeps retrying, and a newer copy replaces the waiting one unless that is kept.
"""

from __future__ import annotations

import copy
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from model.training.shards.owned import Owned
from tune_app.trial.checkpoints import Checkpoints, Superseding

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0


def snapshot(value: Any) -> Any:
    """A copy that further training does not change, with its tensors on the CPU."""
    if isinstance(value, Owned):
        return dict(value)
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(snapshot(item) for item in value)
    return copy.copy(value)


@dataclass(frozen=True, kw_only=True)
class _Parcel:
    """A checkpoint that is being uploaded, or waits for a retry."""

    state: Mapping[str, Any]
    tokens: int
    bits_per_byte: float | None
    last: bool
    keep: bool


class Uploads:
    """Uploads the checkpoints of one cell, one at a time.

    Args:
        checkpoints: of the cell.
        clock: monotonic seconds.
        first_pause: seconds before the first retry; doubled after each failure.
        longest_pause: the upper limit of the pause, in seconds.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        *,
        clock: Callable[[], float] = time.monotonic,
        first_pause: float = _FIRST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        self._checkpoints = checkpoints
        self._clock = clock
        self._first_pause = min(first_pause, longest_pause)
        self._longest_pause = longest_pause
        self._changed = threading.Condition()
        self._parcel: _Parcel | None = None
        self._sending = False
        """Whether an upload is running; False while waiting to retry."""
        self._closed = False
        self._thread: threading.Thread | None = None
        self.stored_tokens = 0
        """Tokens of the newest checkpoint in the store."""
        self.stored: str | None = None
        """The name of that checkpoint."""

    @property
    def unpruned(self) -> Superseding | None:
        """What somebody else has to remove of the cell's checkpoints: see `Checkpoints`."""
        return self._checkpoints.unpruned

    @property
    def idle(self) -> bool:
        """Whether no checkpoint is being uploaded or waits for a retry."""
        with self._changed:
            return self._parcel is None

    def begin(
        self,
        state: Callable[[], Mapping[str, Any]],
        *,
        tokens: int,
        bits_per_byte: float | None = None,
        last: bool = False,
        keep: bool = False,
    ) -> bool:
        """Copies a state and uploads the copy, unless another upload is running.

        Args:
            state: returns the state; called, and its tensors copied, only if it will be uploaded.
            tokens: trained so far.
            bits_per_byte: of the newest evaluation.
            last: whether no other checkpoint will follow.
            keep: whether no newer one takes its place, however long it waits for a retry.

        Returns:
            Whether it was accepted: False while another upload is running, or is to be kept. One
            that waits for a retry is replaced otherwise.
        """
        with self._changed:
            kept = self._parcel is not None and self._parcel.keep
            if self._sending or kept or self._closed:
                return False
            # Free the old copy before making the new one: never three in memory.
            self._parcel = None
            self._parcel = _Parcel(
                state=snapshot(state()),
                tokens=tokens,
                bits_per_byte=bits_per_byte,
                last=last,
                keep=keep,
            )
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="checkpoint-upload", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()
        return True

    def wait(self, seconds: float) -> bool:
        """Waits until `idle`, at most so many seconds; returns whether it is."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._parcel is None, None if math.isinf(seconds) else seconds
            )

    def close(self) -> None:
        """Ends the thread after a running upload; drops a checkpoint that waits for a retry."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        failing_since: float | None = None
        pause = self._first_pause
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._parcel is not None or self._closed)
                if self._parcel is None:
                    return
                parcel = self._parcel
                self._sending = True
            name, error = self._send(parcel)
            tokens = parcel.tokens
            del parcel  # the state must not stay in memory until the next one is sent
            with self._changed:
                self._sending = False
                if error is None:
                    self._parcel = None
                    self.stored, self.stored_tokens = name, tokens
                    self._changed.notify_all()
                if error is None and failing_since is not None:
                    logger.warning(
                        "checkpoints are stored again, after %.0f s of failures",
                        self._since(failing_since),
                    )
                if error is None:
                    failing_since, pause = None, self._first_pause
                    continue
                if failing_since is None:
                    failing_since = self._clock()
                    logger.warning(
                        "the checkpoint at %d tokens could not be stored (%s); training continues "
                        "and the upload is retried",
                        tokens,
                        error,
                    )
                if self._changed.wait_for(lambda: self._closed, pause):
                    self._parcel = None
                    self._changed.notify_all()
                    return
                pause = min(2 * pause, self._longest_pause)

    def _since(self, start: float) -> float:
        return self._clock() - start

    def _send(self, parcel: _Parcel) -> tuple[str | None, str | None]:
        """The name it is stored under, or why it could not be stored.

        In words: the frames of an exception would keep the parcel in memory.
        """
        try:
            name = self._checkpoints.save(
                parcel.state,
                tokens=parcel.tokens,
                bits_per_byte=parcel.bits_per_byte,
                last=parcel.last,
            )
        except OSError as error:
            return None, str(error)
        except Exception as error:
            logger.exception("a checkpoint could not be written because of a bug in this program")
            return None, str(error) or type(error).__name__
        return name, None
