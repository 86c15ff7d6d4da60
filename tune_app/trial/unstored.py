"""The end of a cell: its last observation is held back until its trained model is stored.

Once the last checkpoint has been copied from the device, neither the model nor the trial is needed
any more: the process can train another cell while the copy is stored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from tune_app.journal.records import Observation
from tune_app.trial.checkpoint_interval import CheckpointTiming
from tune_app.trial.checkpoint_upload import Uploads
from tune_app.trial.checkpoints import Superseding

logger = logging.getLogger(__name__)

LAST_PATIENCE = 10 * 60.0
"""Seconds to wait for the last checkpoint of a cell to be stored."""
_POLL = 0.2


class Unstored:
    """A cell that is trained and scored, while its last checkpoint is being stored.

    Args:
        observation: the last one.
        cell: key of the cell.
        known: baseline tokens of the observation before, which was reported.
        uploads: of the cell's checkpoints.
        send: begins to upload the last checkpoint; returns False while an older one is uploaded.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        observation: Observation,
        *,
        cell: str,
        known: int,
        uploads: Uploads,
        send: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self.observation = observation
        self.cell = cell
        self.known = known
        self._uploads = uploads
        self._send: Callable[[], bool] | None = send
        self._clock = clock
        self._since = clock()

    @property
    def is_copied(self) -> bool:
        """Whether the last checkpoint is a copy in memory, so that the model may be dropped."""
        return self._send is None

    @property
    def stored(self) -> str | None:
        """The name of the cell's newest checkpoint in the store; None if none was stored."""
        return self._uploads.stored

    @property
    def unpruned(self) -> Superseding | None:
        """What somebody else has to remove of the cell's checkpoints: see `Checkpoints`."""
        return self._uploads.unpruned

    def comes_before(
        self, observation: Observation, *, before: int, timing: CheckpointTiming
    ) -> bool:
        """Whether an observation of the next cell has to be reported after this one's last: because
        rules decide on it at a rung, where they look at all cells; because this cell's curve is not
        known that far; or because it is that cell's last.

        Args:
            observation: of the next cell.
            before: baseline tokens of its observation before that; 0 if this process knows none.
            timing: has the rungs.
        """
        at = observation.baseline_tokens
        is_last = observation.full_bits_per_byte is not None
        return is_last or at > self.known or timing.passes_rung(before, at)

    def may_be_reported(self, at_most: float) -> bool:
        """Whether the checkpoint is stored, or ten minutes have passed without success.

        at_most: seconds to wait for it.
        """
        started = self._clock()
        while not (self.is_copied and self._uploads.idle):
            now = self._clock()
            if now - self._since > LAST_PATIENCE:
                logger.warning("the trained model of cell %s is not stored", self.cell)
                break
            if now - started > at_most:
                return False
            if self._send is not None and self._send():
                # What sends it holds the model.
                self._send = None
            self._uploads.wait(min(_POLL, at_most))
        return True

    def close(self) -> None:
        """Ends the upload: a running one completes."""
        self._uploads.close()
