"""Muon for hidden matrices, beside AdamW for the rest.

Muon (Jordan et al., 2024, "Muon: An optimizer for hidden layers in neural networks") steps along
its momentum with all singular values set to about 1; torch.optim.Muon does so in bf16 by five
Newton–Schulz iterations, on any device.

How the rate is carried to other sizes: a step of W, [outputs, inputs], is scaled to have the
spectral norm rate · √(outputs / inputs), so that it changes what W makes of its input by as much at
every width (Yang, Simon and Bernstein, 2023, "A Spectral Condition for Feature Learning",
condition 1). The depth is in the multiplier of the residual branches alone under `complete_p` and
`complete_p_zero`, as for Adam, whose steps have a fixed size too (Dey et al., 2025, "CompleteP",
α = 1): what depth blocks learn adds up to the same size. Steps of a fixed spectral norm are small
beside a random start, whose part in the stream falls as 1/√depth, so the usual parametrization of
Muon starts what writes into the stream at zero (`complete_p_zero`, see model/mup.py). Under
`depth_mup` the rate of what is inside a block is also multiplied by √(baseline's depth / depth)
(Yang et al., 2023, "Tensor Programs VI"). So a rate needs no reference width. As for AdamW here,
weight decay is divided by a matrix's factor: the pull on weights is the same in every cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import nn

from model.mup import Scales
from model.network.parameters import DeclaredParameter, declared_parameters
from model.network.transformer import Transformer
from model.roles import Kind, Role
from model.training.batched_muon import BatchedMuon


class Optimizer(Protocol):
    """What training needs of an optimiser."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Each with its `rate`, a factor of the learning rate, and its `lr`."""

    def zero_grad(self, set_to_none: bool = True) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


class MuonWithAdamW:
    """Two optimisers as one.

    Args:
        groups: of the matrices, see `muon_groups`.
        adamw: over all other parameters.
        momentum: of Muon, with Nesterov's correction.
        batched: whether matrices of one shape step together, see model.training.batched_muon.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        adamw: torch.optim.Optimizer,
        *,
        momentum: float,
        batched: bool,
    ) -> None:
        muon = _muon_for(groups, batched=batched)
        self.parts: Mapping[str, torch.optim.Optimizer] = {
            "muon": muon(groups, lr=0.0, momentum=momentum, adjust_lr_fn="original"),
            "adamw": adamw,
        }

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of both."""
        return [group for part in self.parts.values() for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Removes the gradients of all parameters."""
        for part in self.parts.values():
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The states of both, by name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for name, part in self.parts.items():
            part.load_state_dict(state_dict[name])


def parts_of(optimizer: Optimizer) -> list[torch.optim.Optimizer]:
    """The optimisers of torch that an optimiser consists of."""
    if isinstance(optimizer, MuonWithAdamW):
        return list(optimizer.parts.values())
    assert isinstance(optimizer, torch.optim.Optimizer)
    return [optimizer]


def _muon_for(groups: list[dict[str, Any]], *, batched: bool) -> type[torch.optim.Muon]:
    """Torch's Muon, or the one for matrices that processes share."""
    alone = BatchedMuon if batched else torch.optim.Muon
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return alone
    from torch.distributed.tensor import DTensor  # noqa: PLC0415 - a second of imports

    from model.training.shards.muon import ShardedMuon  # noqa: PLC0415

    parameters = (one for group in groups for one in group["params"])
    return ShardedMuon if any(isinstance(one, DTensor) for one in parameters) else alone


def is_for_muon(declared: DeclaredParameter) -> bool:
    """Whether a parameter is a hidden matrix; torch's Muon takes no stacks of matrices."""
    return declared.role.kind is Kind.HIDDEN and declared.parameter.ndim == 2


def muon_groups(
    model: Transformer, *, learning_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups of hidden matrices with equal `rate`, a factor of AdamW's rate, and `weight_decay`.

    Args:
        model: whose matrices.
        learning_rate: Muon's over AdamW's.
        weight_decay: what a matrix with the factor 1 has.
    """
    members: dict[float, list[nn.Parameter]] = {}
    for declared, factor in _matrices(model):
        members.setdefault(factor, []).append(declared.parameter)
    return [
        {
            "params": parameters,
            "rate": learning_rate * factor,
            "weight_decay": weight_decay / factor,
        }
        for factor, parameters in members.items()
    ]


def depth_factor(scales: Scales, role: Role) -> float:
    """Factor of the step of a hidden matrix, beside √(outputs / inputs)."""
    return scales.block_rate if role.in_block else 1.0


def _matrices(model: Transformer) -> Iterator[tuple[DeclaredParameter, float]]:
    """The hidden matrices, each with the factor of its rate."""
    for declared in declared_parameters(model):
        if is_for_muon(declared):
            outputs, inputs = declared.parameter.shape
            # torch multiplies by √max(1, outputs / inputs) itself.
            factor = math.sqrt(min(1.0, outputs / inputs))
            yield declared, factor * depth_factor(model.scales, declared.role)
