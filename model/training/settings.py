"""How a model is trained: every setting, its default and its limits, once. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from model.field_types import require_types
from model.mup import PARAMETRIZATIONS
from model.precisions import BF16, FP8, FP16, FP32
from model.training.schedules import COOL_DOWNS, SCHEDULES

AUTO = "auto"
PRECISIONS = (AUTO, BF16, FP16, FP32, FP8)
COMPILE_MODES = (AUTO, "on", "off")
OPTIMIZERS = ("adamw", "muon")
USUAL_PARAMETRIZATIONS: Mapping[str, str] = {"adamw": "complete_p", "muon": "complete_p_zero"}
"""By optimiser, what `auto` means: the rule that holds over width and depth (docs/transfer.md)."""
CHOICES: Mapping[str, tuple[str, ...]] = {
    "parametrization": (AUTO, *PARAMETRIZATIONS),
    "schedule": tuple(SCHEDULES),
    "optimizer": OPTIMIZERS,
    "precision": PRECISIONS,
    "compile": COMPILE_MODES,
}
"""The settings that are one of a few names, and these names."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The settings of training that a search may vary.

    Raises ValueError for a value that no run could have.
    """

    batch_size: int = 16
    """Sequences per step."""
    learning_rate: float = 8e-3
    """Its peak, for the reference model of the parametrization, which derives each model's own."""
    learning_rate_factor: float = 1.0
    """Multiplies the learning rate of every parameter: how a space tries several rates per cell."""
    embedding_rate: float = 4.0
    """Factor of the learning rate of embedding and head."""
    parametrization: str = AUTO
    """How the learning rate is carried to a model's width and depth (model.mup). `auto` becomes the
    usual one of the optimizer: complete_p, and complete_p_zero for Muon."""
    schedule: str = "cosine"
    """How the learning rate falls: as a cosine, or (wsd) only in the last part of training."""
    warmup_fraction: float = 0.05
    """Share of the tokens over which the learning rate rises."""
    weight_decay: float = 0.1
    """Weight decay of matrices; AdamW multiplies it by the learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay rates of AdamW's two moments."""
    gradient_clip: float = 1.0
    """Greatest norm of the gradient; inf for no clipping."""
    precision: str = "auto"
    """`bf16` or `fp16` (autocast; weights stay in fp32, and in fp16 the loss is scaled), `fp32`, or
    `auto`: bf16 where it is fast, else fp16 where that is. `fp8` is bf16 with the linear layers of
    the blocks in FP8, on a GPU of Ada, Hopper or newer."""
    compile: str = "auto"
    """`on`, `off`, or `auto`: on if the run is long enough to pay for it."""
    deterministic: bool = True
    """Only algorithms that repeat bit for bit on the same kind of machine with the same threads."""
    optimizer: str = "adamw"
    """`adamw`, or `muon` for the hidden matrices with AdamW for everything else."""
    muon_learning_rate: float = 0.02
    """Peak learning rate of the hidden matrices under Muon; `learning_rate` is that of the rest."""
    muon_momentum: float = 0.95
    """Decay rate of Muon's momentum."""
    gradient_accumulation: int = 1
    """Parts in which a step's batch is trained one after another: less memory, the same step."""
    gradient_checkpointing: bool = False
    """Whether blocks compute their activations again in the backward pass instead of keeping them:
    less memory, about a third more time."""

    def __post_init__(self) -> None:
        # Before the types: whoever writes `compile=true` wants to hear the names.
        for name, choices in CHOICES.items():
            limit = f"one of {', '.join(choices)}"
            _require(getattr(self, name) in choices, name, getattr(self, name), limit)
        require_types(self)
        if self.parametrization == AUTO:
            # Never kept, so that a recorded cell says what it was trained by.
            object.__setattr__(self, "parametrization", USUAL_PARAMETRIZATIONS[self.optimizer])
        for name, (valid, limit) in _LIMITS.items():
            _require(valid(getattr(self, name)), name, getattr(self, name), limit)
        parts = self.gradient_accumulation
        _require(
            1 <= parts <= self.batch_size and self.batch_size % parts == 0,
            "gradient_accumulation",
            parts,
            f"a divisor of the batch size, {self.batch_size}",
        )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(TrainingSettings):
    """One run's training: its settings, its length, its seed and what fits into memory.

    Raises ValueError for a value that no run could have.
    """

    tokens: int
    """To train on; the last step may exceed it by less than a step."""
    seed: int = 0
    micro_batch_size: int | None = None
    """Sequences in memory at once; None for as many as gradient_accumulation says."""
    warmup_tokens: float = 0.0
    """Tokens over which the learning rate rises, whatever the length; 0 for warmup_fraction of it,
    which otherwise says the same as a share."""

    def __post_init__(self) -> None:
        super().__post_init__()
        micro = self.batch_size if self.micro_batch_size is None else self.micro_batch_size
        _require(self.tokens >= 1, "tokens", self.tokens, "at least 1")
        _require(0 <= self.seed < 2**32, "seed", self.seed, "from 0 to 2³² - 1")
        valid = 0 <= self.warmup_tokens < math.inf
        _require(valid, "warmup_tokens", self.warmup_tokens, "0 or more")
        _require(
            1 <= micro <= self.batch_size and self.batch_size % micro == 0,
            "micro_batch_size",
            micro,
            f"a divisor of the batch size, {self.batch_size}",
        )

    @property
    def sequences_at_once(self) -> int:
        """Sequences in memory at once: the fewer of what was wished for and of what fits."""
        wished = self.batch_size // self.gradient_accumulation
        return wished if self.micro_batch_size is None else min(wished, self.micro_batch_size)

    @property
    def cool_down_share(self) -> float | None:
        """Share of the tokens up to which the rate is constant after its warm-up; None if it never
        is."""
        share = COOL_DOWNS.get(self.schedule)
        return None if share is None or self.warmup_fraction >= share else share

    def rate_factor(self, position: float) -> float:
        """The factor of the learning rate after so many tokens, in [0, 1].

        Up to the end of a warm-up in tokens it does not depend on the length, to the last bit.
        """
        if position < self.warmup_tokens:
            return position / self.warmup_tokens
        progress = min(1.0, position / self.tokens)
        if self.warmup_tokens:  # is over, however the share is rounded
            progress = max(progress, self.warmup_fraction)
        return SCHEDULES[self.schedule](progress, warmup_fraction=self.warmup_fraction)

    @classmethod
    def of_run(
        cls,
        settings: TrainingSettings,
        *,
        tokens: int,
        seed: int,
        micro_batch_size: int | None = None,
        warmup_tokens: float = 0.0,
    ) -> TrainingConfig:
        """A run with these settings; `settings` may be of a class that adds fields of its own."""
        values = {field.name: getattr(settings, field.name) for field in fields(TrainingSettings)}
        return cls(
            **values,
            tokens=tokens,
            seed=seed,
            micro_batch_size=micro_batch_size,
            warmup_tokens=warmup_tokens,
        )


def wished_at_once(values: Mapping[str, Any]) -> int:
    """Sequences in memory at once by a cell's recorded values, which may be older than the wish."""
    return int(values["batch_size"]) // int(values.get("gradient_accumulation", 1))


_LIMITS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "batch_size": (lambda size: size >= 1, "at least 1"),
    "learning_rate": (
        lambda rate: 0 < rate < math.inf,
        "positive and finite, for example 4e-3",
    ),
    "learning_rate_factor": (
        lambda factor: 0 < factor < math.inf,
        "positive and finite, for example 0.5 or 2",
    ),
    "embedding_rate": (lambda factor: 0 < factor < math.inf, "positive and finite"),
    "warmup_fraction": (lambda share: 0 <= share < 1, "in [0, 1)"),
    "weight_decay": (lambda decay: 0 <= decay < math.inf, "0 or more, for example 0.1"),
    "betas": (
        lambda betas: all(0 <= beta < 1 for beta in betas),
        "two numbers in [0, 1), for example (0.9, 0.95)",
    ),
    "muon_learning_rate": (lambda rate: 0 < rate < math.inf, "positive and finite, such as 0.02"),
    "muon_momentum": (lambda momentum: 0 <= momentum < 1, "in [0, 1), for example 0.95"),
    "gradient_clip": (lambda norm: norm > 0, "positive, or inf for no clipping"),
}


def _require(valid: bool, name: str, value: object, limit: str) -> None:
    if not valid:
        raise ValueError(f"{name} is {value!r}; it must be {limit}")
