"""Where a trial's batches are made: on the host, or on a GPU that holds the text."""

from __future__ import annotations

import logging

from model.training.held_text import HeldText, should_hold
from model.training.training import BatchSource
from tune_app.devices import free_memory, memory_share
from tune_app.trial.data import TrialData

logger = logging.getLogger(__name__)


def batches_of(data: TrialData, *, device: str, processes: int) -> BatchSource:
    """The batches of a trial, the same ones wherever they are made."""
    on_gpu = device.startswith("cuda")
    holding = should_hold(
        device=device,
        tokens=data.tokens,
        text=data.batches.text,
        processes=processes,
        free=free_memory(device) if on_gpu else 0,
        share=memory_share(device) if on_gpu else 1.0,
    )
    where = "held by the device" if holding.held else "read from the host's memory"
    log = logger.info if on_gpu else logger.debug
    log("the text of the batches is %s: %s", where, holding.reason)
    return HeldText(data.batches, device=device) if holding.held else data.batches
