"""The Trial of a cell as Tune's class trainable; its process is reused for the next cell."""

from __future__ import annotations

import json
import logging
import os
import traceback
from pathlib import Path
from typing import Any

import torch
from ray import tune

from data.prepared import PreparedCorpus
from tune_app.cell import Cell
from tune_app.devices import use_threads
from tune_app.on_ray.report import CELL, ERROR, OBSERVATION, TOKENS, WARNINGS
from tune_app.trial import Trial

logger = logging.getLogger(__name__)

SLICE_SECONDS = 1.0
"""A report comes at least so often, so that a sweep can be watched and ended at any time."""


class CellTrainable(tune.Trainable):
    """Trains one cell after another.

    An error of the trial's own code is a report, not an exception: what Tune sees as a failure is
    then always the loss of a process or a host, and is retried.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self._trial: Trial | None = None
        self._config = config
        self._warnings = _Warnings()
        logging.getLogger().addHandler(self._warnings)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._trial = None
        self._config = new_config
        return True

    def step(self) -> dict[str, Any]:
        try:
            if self._trial is None:
                self._trial = self._start()
            observation = self._trial.advance(at_most=SLICE_SECONDS)
        except torch.AcceleratorError:
            # The GPU's context is broken for good, and with it every later cell of this process.
            logger.exception("the GPU failed; the process ends, and its cell resumes in another")
            os._exit(1)
        except Exception:
            self._trial = None
            return {ERROR: traceback.format_exc()}
        report: dict[str, Any] = {TOKENS: self._trial.tokens, WARNINGS: self._warnings.taken()}
        if observation is not None:
            report[OBSERVATION] = json.dumps(observation.as_dict())
        return report

    def cleanup(self) -> None:
        """An interrupted sweep keeps what its running cells have trained."""
        if self._trial is None or self._trial.finished:
            return
        try:
            self._trial.save()
        except OSError:
            logger.exception("the last checkpoint could not be written; the one before it stands")

    def _start(self) -> Trial:
        use_threads(self._config["threads"])
        return Trial(
            Cell.from_values(self._config[CELL]["values"]),
            corpora=self._corpus,
            checkpoints=Path(self._config["checkpoints"]) / self._config[CELL]["key"],
            device=self._config["device"],
        )

    def _corpus(self, vocabulary: int) -> PreparedCorpus:
        return PreparedCorpus.open(Path(self._config["corpora"][str(vocabulary)]))


class _Warnings(logging.Handler):
    """Keeps what is logged as a warning, so that it reaches the person at the driver."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(record.getMessage())

    def taken(self) -> list[str]:
        """The warnings since the last call."""
        taken, self._kept = self._kept, []
        return taken
