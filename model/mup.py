"""How the learning rate of the baseline is carried to a model of another width and depth.

One rate for all cells of a sweep would judge widths and depths, not architectures. So the learning
rate is set for the baseline, and this rule gives every cell its own, with the multipliers that
belong to it:

    width   Maximal update parametrization for Adam (Yang et al., 2022, "Tensor Programs V",
            table 8): a hidden matrix learns at (baseline's fan-in / its fan-in) times the rate,
            embeddings and head at the rate itself, logits are multiplied by baseline's width /
            width, attention logits by √(baseline's head size / head size).
    depth   Residual branches are multiplied by 1/√(2·depth), and everything inside a block learns
            at √(baseline's depth / depth) times the rate (Yang et al., 2023, "Tensor Programs VI",
            Depth-μP for Adam; it is α = ½ in table 1 of Dey et al., 2025, "CompleteP", where a
            branch multiplier of depth^-α goes with a rate of depth^(α-1)).

Weight decay is divided by a matrix's factor, so that rate times decay, the pull on its weights, is
the same in every cell; that is this project's choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from model.roles import SIZES, Kind, Role
from model.spec import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Multipliers of a model's parts, and of the learning rate of its parameters.

    For the baseline itself all factors are 1, but for `residual`, which depends on the depth alone.
    """

    residual: float
    """Of what a block adds to the residual stream."""
    logits: float
    """Of the logits of the vocabulary."""
    attention_logits: float
    """Of the logits of attention, after their division by √head size."""
    block_rate: float
    """Of the learning rate of everything inside residual blocks; it depends on the depth alone."""
    baseline_sizes: Mapping[str, int]
    """The baseline's sizes by name, which hidden matrices are compared with."""

    def rate(self, role: Role) -> float:
        """Factor of the learning rate of a parameter with this role."""
        depth_rate = self.block_rate if role.in_block else 1.0
        if role.kind is not Kind.HIDDEN:
            return depth_rate
        assert role.reads is not None and role.fan_in is not None
        return depth_rate * self.baseline_sizes[role.reads] / role.fan_in


def transfer(config: ModelConfig, *, baseline: ModelConfig) -> Scales:
    """The scales of a model when the learning rate is set for `baseline`."""
    depth_rate = math.sqrt(baseline.n_layers / config.n_layers)
    return Scales(
        residual=1 / math.sqrt(2 * config.n_layers),
        logits=baseline.d_model / config.d_model,
        attention_logits=math.sqrt(baseline.head_dim / config.head_dim),
        block_rate=depth_rate,
        baseline_sizes={name: getattr(baseline, name) for name in SIZES},
    )
