"""How a model is fine-tuned: every setting and its default, once."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from model.training.settings import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class FineTuneSettings:
    """How a model is fine-tuned. Raises ValueError for impossible values."""

    epochs: float = 3.0
    """How often each sequence is seen."""
    batch_size: int = 8
    """Sequences per step; each holds as many conversations as fit."""
    learning_rate: float = 2e-3
    """Its peak, for the reference model, as in a sweep, where it is four times as high."""
    schedule: str = "cosine"
    """How the learning rate falls, as in a sweep."""
    warmup_fraction: float = 0.05
    """Share of the tokens over which it rises."""
    weight_decay: float = 0.0
    """Of matrices; few steps should forget little."""
    optimizer: str = "adamw"
    """`adamw` or `muon`."""
    precision: str = "auto"
    """`bf16`, `fp16`, `fp32`, `fp8`, or `auto`: bf16 where it is fast, else fp16 where that is."""
    evaluations: int = 10
    """How often it is scored, evenly spaced; the last time at the end."""
    seed: int = 0
    """Of the order of the conversations."""

    def __post_init__(self) -> None:
        if not 0 < self.epochs < math.inf:
            raise ValueError(f"epochs is {self.epochs}; it must be positive, for example 3")
        if self.evaluations < 1:
            raise ValueError(f"evaluations is {self.evaluations}; it must be at least 1")
        self.training(sequences=1, context=1)  # which refuses what no training could have

    def steps(self, sequences: int) -> int:
        """Steps in all."""
        return max(1, round(self.epochs * sequences / self.batch_size))

    def training(self, *, sequences: int, context: int) -> TrainingConfig:
        """The settings of the training, with its length."""
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; it must be at least 1")
        return TrainingConfig(
            tokens=self.steps(sequences) * self.batch_size * context,
            seed=self.seed,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            warmup_fraction=self.warmup_fraction,
            weight_decay=self.weight_decay,
            optimizer=self.optimizer,
            precision=self.precision,
            compile="off",
        )

    def values(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)
