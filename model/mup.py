"""muP: carries the baseline's learning rate to models of other widths and depths.

With one rate for all cells a sweep would compare widths and depths, not architectures. So the rate
is set for the baseline, and a parametrisation gives every cell its own, with its multipliers. For
the width, all of them follow the maximal update parametrization for Adam (Yang et al., 2022,
"Tensor Programs V", table 8): a hidden matrix learns at (baseline's fan-in / its fan-in) times the
rate, embeddings and head at the rate itself, logits are multiplied by baseline's width / width,
attention logits by √(baseline's head_dim / head_dim). They differ in the depth:

    complete_p  Residual branches are multiplied by 1/√(2·baseline's depth) · baseline's depth /
                depth, and rates do not depend on the depth (Dey et al., 2025, "CompleteP", table
                1 with α = 1).
    depth_mup   Residual branches are multiplied by 1/√(2·depth), and everything inside a block
                learns at √(baseline's depth / depth) times the rate (Yang et al., 2023, "Tensor
                Programs VI", Depth-μP for Adam; table 1 of CompleteP with α = ½).

For the baseline itself they are equal. docs/transfer.md has the measurements that chose between
them. Weight decay is divided by a matrix's factor, so that rate × decay, the pull on its weights,
is the same in every cell; that is this project's own choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from model.roles import SIZES, Kind, Role
from model.spec import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Scales:
    """A model's multipliers, and the factors of its parameters' learning rates.

    Together with its ModelConfig they define the model: the same weights under other multipliers
    give other logits. `transfer` and `own` make them, `values` and `from_values` take them through
    a file.

    All are 1 for the baseline itself except `residual`, which is 1/√(2·its depth).

    Raises ValueError for a multiplier that is not a positive number.
    """

    residual: float
    """Multiplies what a block adds to the residual stream."""
    logits: float
    """Multiplies the logits of the vocabulary."""
    attention_logits: float
    """Multiplies the logits of attention, after their division by √head_dim."""
    block_rate: float
    """Factor of all learning rates inside residual blocks; it depends on the depth alone."""
    baseline_sizes: Mapping[str, int]
    """The baseline's sizes by name; a hidden matrix's fan-in is compared with the one it reads."""

    def __post_init__(self) -> None:
        for name in ("residual", "logits", "attention_logits", "block_rate"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ValueError(
                    f"the multiplier {name} is {value!r}; it must be a positive number"
                )

    @classmethod
    def own(cls, config: ModelConfig) -> Scales:
        """The scales of a model that is its own baseline, the same in every parametrization."""
        return complete_p(config, config)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Scales:
        """The inverse of `values`."""
        return cls(**{**values, "baseline_sizes": dict(values["baseline_sizes"])})

    def values(self) -> dict[str, Any]:
        """As plain values, for a checkpoint."""
        return {**asdict(self), "baseline_sizes": dict(self.baseline_sizes)}

    def rate(self, role: Role) -> float:
        """Factor of the learning rate for a parameter with this role."""
        depth_rate = self.block_rate if role.in_block else 1.0
        if role.kind is not Kind.HIDDEN:
            return depth_rate
        assert role.reads is not None and role.fan_in is not None
        return depth_rate * self.baseline_sizes[role.reads] / role.fan_in


def transfer(config: ModelConfig, *, baseline: ModelConfig, parametrization: str) -> Scales:
    """The scales of a model when the learning rate is set for `baseline`.

    Raises ValueError for an unknown parametrization.
    """
    if parametrization not in PARAMETRIZATIONS:
        raise ValueError(
            f"unknown parametrization {parametrization!r}; "
            f"expected one of {', '.join(PARAMETRIZATIONS)}"
        )
    return PARAMETRIZATIONS[parametrization](config, baseline)


def complete_p(config: ModelConfig, baseline: ModelConfig) -> Scales:
    """Branches by 1 / depth, rates by width alone (CompleteP, α = 1)."""
    depth = baseline.n_layers / config.n_layers
    return _by_width(
        config, baseline, residual=depth / math.sqrt(2 * baseline.n_layers), block_rate=1.0
    )


def depth_mup(config: ModelConfig, baseline: ModelConfig) -> Scales:
    """Branches and the rates inside blocks by 1 / √depth (Depth-μP; α = ½)."""
    depth = baseline.n_layers / config.n_layers
    return _by_width(
        config, baseline, residual=1 / math.sqrt(2 * config.n_layers), block_rate=math.sqrt(depth)
    )


PARAMETRIZATIONS: Mapping[str, Callable[[ModelConfig, ModelConfig], Scales]] = {
    "complete_p": complete_p,
    "depth_mup": depth_mup,
}
"""By name; a new one is a function and a line here."""


def _by_width(
    config: ModelConfig, baseline: ModelConfig, *, residual: float, block_rate: float
) -> Scales:
    return Scales(
        residual=residual,
        logits=baseline.d_model / config.d_model,
        attention_logits=math.sqrt(baseline.head_dim / config.head_dim),
        block_rate=block_rate,
        baseline_sizes={name: getattr(baseline, name) for name in SIZES},
    )
