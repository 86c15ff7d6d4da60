"""One fine-tuning, resumable at any step."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from data.conversations.packing import PackedConversations
from model.evaluation.bits_per_byte import evaluate
from model.training.training import Training
from model.training.warm_start import Moments, WarmStart
from tune_app.finetuning.settings import FineTuneSettings
from tune_app.portable.loading import ExportedModel
from tune_app.stores.base import StoreError
from tune_app.trial.checkpoint_interval import CheckpointTiming
from tune_app.trial.checkpoints import Checkpoints

logger = logging.getLogger(__name__)

_KEY_LENGTH = 16


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a model scored while it was fine-tuned."""

    step: int
    tokens: int
    """Trained: positions of all sequences, padding included."""
    train_loss: float
    """Nats for a token of the assistant's, over the steps since the last report."""
    answer_loss: float
    """Nats for a token of the assistant's in the scored conversations."""
    bits_per_byte: float
    """Of the assistant's text in the scored conversations."""
    learning_rate: float


def run_key(
    export: ExportedModel, settings: FineTuneSettings, *, data: str, dev: str | None, warm: bool
) -> str:
    """Names the checkpoints of a fine-tuning: equal for equal models, data and settings.

    Args:
        export: the model.
        settings: how it is trained.
        data: the SHA-256 of the conversations' file.
        dev: that of the scored ones.
        warm: whether the optimiser's state is taken over.
    """
    values = {
        "files": {name: record.sha256 for name, record in sorted(export.export.files.items())},
        "model": export.config.values(),
        "settings": settings.values(),
        "data": data,
        "dev": dev,
        "warm": warm,
    }
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_LENGTH]


class FineTuning:
    """A model's training on conversations.

    Documents are masked from each other, whether or not they were before: what a model makes of one
    conversation does not depend on those packed beside it.

    Args:
        export: the model to go on with.
        settings: how it is trained.
        data: the conversations that are learned.
        scored: the conversations that are scored; None for those that are learned.
        moments: the state of the model's optimiser; None starts with a new one.
        checkpoints: to resume from; None trains without any.
        timing: when to take them.
        device: `cpu`, `cuda`, …
        clock: monotonic seconds.

    Raises ValueError for a model that cannot be trained, StoreError if the store of the checkpoints
    does not answer.
    """

    def __init__(
        self,
        export: ExportedModel,
        settings: FineTuneSettings,
        data: PackedConversations,
        *,
        scored: PackedConversations | None = None,
        moments: Moments | None = None,
        checkpoints: Checkpoints | None = None,
        timing: CheckpointTiming = CheckpointTiming(),  # noqa: B008 - it is frozen
        device: str = "cpu",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.settings = settings
        self._scored = data if scored is None else scored
        self._steps = settings.steps(data.rows)
        config = replace(export.config, document_masking=True)
        self._training = Training(
            config,
            settings.training(sequences=data.rows, context=config.context),
            data,
            baseline=config,
            device=device,
            start=WarmStart(
                scales=export.model.scales,
                weights=export.model.state_dict(),
                progress=export.model.progress.item(),
                moments=moments,
            ),
        )
        self.reports: list[Report] = []
        self.resumed_from = 0
        """Steps of the checkpoint that it started from."""
        self._answers: list[float] = []
        """Training losses since the last report."""
        self._checkpoints, self._timing, self._clock = checkpoints, timing, clock
        self._save_cost = 0.0
        self._resume()
        self._saved_at = clock()

    @property
    def training(self) -> Training:
        """The model and its optimiser."""
        return self._training

    @property
    def steps(self) -> int:
        """Done so far."""
        return self._training.steps

    @property
    def finished(self) -> bool:
        """Whether all steps are done and scored."""
        return bool(self.reports) and self.reports[-1].step >= self._steps

    @property
    def diverged(self) -> bool:
        """Whether a loss was NaN or infinite."""
        return bool(self.reports) and not math.isfinite(self.reports[-1].train_loss)

    def moments(self) -> dict[str, dict[str, Tensor]]:
        """The state of the optimiser."""
        return self._training.moments()

    def advance(self, *, at_most: float = math.inf) -> Report | None:
        """Trains to the next report; None if that takes more than `at_most` seconds, to be called
        again. A NaN or infinite loss is reported at once."""
        assert not self.finished
        goal = self._goal(len(self.reports) + 1)
        started, rate = self._clock(), 0.0
        while self.steps < goal:
            result = self._training.step()
            rate = result.metrics["learning_rate"]
            self._answers.append(result.checked_loss)
            if not math.isfinite(self._answers[-1]):
                break
            if self.steps < goal:
                if self._clock() - self._saved_at >= self._timing.seconds(self._save_cost):
                    self.save()
                if self._clock() - started > at_most:
                    return None
        found = evaluate(self._training.model, self._scored)
        self.reports.append(
            Report(
                step=self.steps,
                tokens=self._training.tokens,
                train_loss=sum(self._answers) / len(self._answers) if self._answers else math.nan,
                answer_loss=found.nats / found.tokens,
                bits_per_byte=found.bits_per_byte,
                learning_rate=rate,
            )
        )
        self._answers = []
        if self.finished and not self.diverged:
            self.save()
        return self.reports[-1]

    def save(self) -> None:
        """Stores a checkpoint; a store that fails costs only what a resume repeats."""
        if self._checkpoints is None:
            return
        started = self._clock()
        try:
            self._checkpoints.save(
                self._state(),
                tokens=self._training.tokens,
                bits_per_byte=self.reports[-1].bits_per_byte if self.reports else None,
                last=self.finished,
            )
        except StoreError as error:
            logger.warning("no checkpoint was stored: %s", error)
        self._saved_at = self._clock()
        self._save_cost = self._saved_at - started

    def _goal(self, report: int) -> int:
        """The step after which a report is due; there are no more reports than steps."""
        return math.ceil(self._steps * report / min(self.settings.evaluations, self._steps))

    def _state(self) -> dict[str, Any]:
        return {
            "training": self._training.state_dict(),
            "reports": [asdict(one) for one in self.reports],
            "answers": list(self._answers),
        }

    def _resume(self) -> None:
        if self._checkpoints is None:
            return
        state: Mapping[str, Any] | None = self._checkpoints.newest().state
        if state is None:
            return
        self._training.load_state_dict(state["training"])
        self.reports = [Report(**one) for one in state["reports"]]
        self._answers = list(state["answers"])
        self.resumed_from = self.steps
