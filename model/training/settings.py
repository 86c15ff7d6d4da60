"""How a model is trained: every setting, its default and its limits, once. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from model.training.schedules import SCHEDULES

PRECISIONS = ("auto", "bf16", "fp32")
COMPILE_MODES = ("auto", "on", "off")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The settings of training that a search may vary.

    Whole numbers become floats where a float is meant, and `betas` a tuple, so that equal settings
    make equal objects. Raises ValueError for a value that no run could have.
    """

    batch_size: int = 16
    """Sequences a step."""
    learning_rate: float = 4e-3
    """Of the baseline, at its peak; each model's own follows by model.mup."""
    schedule: str = "cosine"
    """A key of model.training.schedules.SCHEDULES."""
    warmup_fraction: float = 0.05
    """Share of the tokens over which the learning rate rises."""
    weight_decay: float = 0.1
    """Of matrices, as a multiple of the learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay rates of AdamW's two moments."""
    gradient_clip: float = 1.0
    """Greatest norm of the gradient; inf for no clipping."""
    precision: str = "auto"
    """`bf16` (autocast; weights stay in fp32), `fp32`, or `auto`: bf16 where it is fast."""
    compile: str = "auto"
    """`on`, `off`, or `auto`: where the run is longer than the break-even."""
    deterministic: bool = True
    """Only algorithms that repeat bit for bit on the same kind of machine with the same threads."""

    def __post_init__(self) -> None:
        for field in fields(TrainingSettings):
            kind = type(field.default)
            value = _normal(getattr(self, field.name), kind)
            object.__setattr__(self, field.name, value)
            _require(type(value) is kind, field.name, value, _KINDS[kind])
        for name, (valid, limit) in _LIMITS.items():
            _require(valid(getattr(self, name)), name, getattr(self, name), limit)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(TrainingSettings):
    """One run's training: its settings, its length, its seed and what fits into memory.

    Raises ValueError for a value that no run could have.
    """

    tokens: int
    """To train on; the last step may pass it by less than a step."""
    seed: int = 0
    micro_batch_size: int | None = None
    """Sequences at once in memory; None for all of a step's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        micro = self.batch_size if self.micro_batch_size is None else self.micro_batch_size
        _require(self.tokens >= 1, "tokens", self.tokens, "at least 1")
        _require(0 <= self.seed < 2**32, "seed", self.seed, "from 0 to 2³² - 1")
        _require(
            1 <= micro <= self.batch_size and self.batch_size % micro == 0,
            "micro_batch_size",
            micro,
            f"a divisor of the batch size, {self.batch_size}",
        )

    @classmethod
    def of_run(
        cls,
        settings: TrainingSettings,
        *,
        tokens: int,
        seed: int,
        micro_batch_size: int | None = None,
    ) -> TrainingConfig:
        """A run with these settings; `settings` may be of a class that adds fields of its own."""
        values = {field.name: getattr(settings, field.name) for field in fields(TrainingSettings)}
        return cls(**values, tokens=tokens, seed=seed, micro_batch_size=micro_batch_size)


_KINDS: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    str: "a name",
    bool: "true or false",
    tuple: "two numbers, for example (0.9, 0.95)",
}

_LIMITS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "batch_size": (lambda size: size >= 1, "at least 1"),
    "learning_rate": (
        lambda rate: 0 < rate < math.inf,
        "positive and finite, for example 4e-3",
    ),
    "schedule": (lambda name: name in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
    "warmup_fraction": (lambda share: 0 <= share < 1, "in [0, 1)"),
    "weight_decay": (lambda decay: 0 <= decay < math.inf, "0 or more, for example 0.1"),
    "betas": (
        lambda betas: (
            len(betas) == 2 and all(type(beta) is float and 0 <= beta < 1 for beta in betas)
        ),
        "two numbers in [0, 1), for example (0.9, 0.95)",
    ),
    "gradient_clip": (lambda norm: norm > 0, "positive, or inf for no clipping"),
    "precision": (lambda name: name in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
    "compile": (lambda name: name in COMPILE_MODES, f"one of {', '.join(COMPILE_MODES)}"),
}


def _normal(value: Any, kind: type) -> Any:
    """The value as the kind of its field, where nothing is lost by that."""
    if kind is float and type(value) is int:
        return float(value)
    if kind is tuple and isinstance(value, (list, tuple)):
        return tuple(float(part) if type(part) is int else part for part in value)
    return value


def _require(valid: bool, name: str, value: object, limit: str) -> None:
    if not valid:
        raise ValueError(f"{name} is {value!r}; it must be {limit}")
