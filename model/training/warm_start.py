"""What training starts from instead of random weights: a trained model, and perhaps its optimiser.

The state of an optimiser is kept by the names of the parameters: with other settings it groups them
otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from model.mup import Scales
from model.network.transformer import Transformer
from model.training.muon import Optimizer, parts_of

Moments = Mapping[str, Mapping[str, Tensor]]
"""An optimiser's tensors, by the name of the parameter and their own."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """A model to go on with."""

    scales: Scales
    """Its multipliers, which stay."""
    weights: Mapping[str, Tensor]
    progress: float
    """How much of its training was done: what depends on it, such as the temperature of a routing,
    is held there."""
    moments: Moments | None = None
    """Of its optimiser; None starts with a new one."""


def moments_of(model: Transformer, optimizer: Optimizer) -> dict[str, dict[str, Tensor]]:
    """The state of a model's optimiser by the names of the parameters."""
    names: dict[Tensor, str] = {one: name for name, one in model.named_parameters()}
    found: dict[str, dict[str, Tensor]] = {}
    for part in parts_of(optimizer):
        for parameter, state in part.state.items():
            found[names[parameter]] = {
                key: torch.as_tensor(value).detach().clone() for key, value in state.items()
            }
    return found


def set_moments(model: Transformer, optimizer: Optimizer, moments: Moments) -> None:
    """Gives a new optimiser the state of another one of the same model.

    Raises ValueError if it is of another model or of another kind of optimiser.
    """
    parameters = dict(model.named_parameters())
    if strange := sorted(moments.keys() ^ parameters.keys()):
        raise ValueError(
            f"the optimiser's state does not fit the model: {strange[0]} is in one of them only; "
            "start with the weights alone"
        )
    for part in parts_of(optimizer):
        for group in part.param_groups:
            for parameter in group["params"]:
                name = _name_of(parameters, parameter)
                part.state[parameter] = dict(_checked(part, name, parameter, moments[name]))


def _checked(
    part: torch.optim.Optimizer, name: str, parameter: nn.Parameter, state: Mapping[str, Tensor]
) -> Iterator[tuple[str, Any]]:
    wanted = next(keys for kind, keys in _KEYS.items() if isinstance(part, kind))
    if state.keys() != wanted:
        raise ValueError(
            f"the optimiser's state of {name} has {', '.join(sorted(state))}, but "
            f"{type(part).__name__} needs {', '.join(sorted(wanted))}; name the optimiser that it "
            "is from, or start with the weights alone"
        )
    for key, value in state.items():
        if value.ndim and value.shape != parameter.shape:
            raise ValueError(
                f"the optimiser's {key} of {name} has the shape {tuple(value.shape)}, but the "
                f"parameter {tuple(parameter.shape)}; start with the weights alone"
            )
        # The count of steps stays on the CPU unless the optimiser is a fused one.
        yield key, value.clone().to(parameter.device)


_KEYS: Mapping[type, set[str]] = {
    torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.Muon: {"momentum_buffer"},
}


def _name_of(parameters: Mapping[str, nn.Parameter], wanted: nn.Parameter) -> str:
    return next(name for name, one in parameters.items() if one is wanted)
