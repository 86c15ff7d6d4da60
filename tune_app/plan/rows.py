"""A planned cell with its solved sizes, and the rows of a dry run's table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tune_app.plan.solved import SolvedModels


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell with its solved sizes, or the reason why it has none."""

    key: str
    label: str
    """Short name for people, unique in the sweep (see `cell_names.py`)."""
    position: int
    """Place in the sweep's list; the baseline is 0."""
    values: Mapping[str, Any]
    """The cell as plain values, seed included."""
    reason: str = ""
    """Why the budget has no solution."""
    config: Mapping[str, Any] | None = None
    """The solved sizes (ModelConfig.values()), which are trained; None when infeasible."""
    baseline_config: Mapping[str, Any] | None = None
    """The solved sizes of the cell's baseline, whose learning rate is transferred."""
    parameters: Mapping[str, Any] | None = None
    """Parameters by part and in total, with the embedding share."""
    flops_per_token: float | None = None
    """Training FLOPs per token, forward and backward."""
    former_key: str | None = None
    """The cell's key in an older version, under which checkpoints may be stored."""

    @property
    def solved(self) -> SolvedModels | None:
        """The solved models of the cell and its baseline; None if they are not recorded."""
        if self.config is None or self.baseline_config is None:
            return None
        return SolvedModels.from_values({"model": self.config, "baseline": self.baseline_config})


@dataclass(frozen=True, kw_only=True)
class PlanSizes:
    """The solved sizes of a cell, for a dry run's table."""

    share: float
    """Embedding parameters / all parameters."""
    expansion: float
    """d_ff / d_model."""
    d_model: int
    n_layers: int
    n_heads: int
    head_dim: int
    d_ff: int
    parameters: int
    """Total."""
    n_kv_heads: int | None = None
    """None for one for each query head."""

    @property
    def heads(self) -> str:
        """Query heads, and key-value heads if these are fewer: 4, or 4/2."""
        return str(self.n_heads) + ("" if self.n_kv_heads is None else f"/{self.n_kv_heads}")

    embedding_rank: int | None = None
    """None for an embedding without a rank."""
    active: int | None = None
    """Parameters used for one token; None if they are not recorded."""


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """A cell in a dry run."""

    label: str
    asked_share: float | None
    """None if it was left free; the same for the other `asked_` fields."""
    asked_expansion: float | None
    tokens: int
    """Baseline tokens to train on."""
    asked_d_model: int | None = None
    asked_n_layers: int | None = None
    asked_d_ff: int | None = None
    asked_embedding_rank: int | None = None
    sizes: PlanSizes | None = None
    """None if the budget has no solution."""
    hidden_rate: float | None = None
    """Learning rate of the hidden matrices / that of the baseline's, by muP and the cell's own
    factor."""
    expected_seconds: float | None = None
    memory_bytes: int | None = None
    infeasible: str = ""
    """Why the budget has no solution."""
    nearest: str = ""
    """The nearest request that has a solution, if one is known."""

    def __post_init__(self) -> None:
        if (self.sizes is None) != bool(self.infeasible):
            raise ValueError(
                f"the plan's row {self.label!r} must have either sizes or a reason why it has none"
            )
