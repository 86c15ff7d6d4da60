"""The optimiser: AdamW, with each parameter at the learning rate that muP gives it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from model.network.parameters import declared_parameters
from model.network.transformer import Transformer
from model.roles import Kind

EPSILON = 1e-12
"""Far below the square root of any second moment seen here, so muP need not scale it."""


def adamw(
    model: Transformer,
    *,
    betas: tuple[float, float],
    weight_decay: float,
    embedding_rate: float = 1.0,
) -> torch.optim.AdamW:
    """Fused AdamW (Loshchilov and Hutter, 2019) over all parameters, at learning rate 0.

    A parameter's role says whether it decays: matrices do, gains do not. Decay is divided by the
    rate's factor: AdamW multiplies the two, and the product must be the same in every cell.
    """
    return torch.optim.AdamW(
        parameter_groups(model, weight_decay=weight_decay, embedding_rate=embedding_rate),
        lr=0.0,
        betas=betas,
        eps=EPSILON,
        fused=True,
    )


def parameter_groups(
    model: Transformer, *, weight_decay: float, embedding_rate: float = 1.0
) -> list[dict[str, Any]]:
    """Groups of parameters with equal `rate`, a factor of the learning rate, and `weight_decay`.

    embedding_rate: a further factor of the rates of embedding and head, the same at every size.

    Raises UndeclaredParameterError for a parameter without a role.
    """
    members: dict[tuple[float, float], list[nn.Parameter]] = {}
    for declared in declared_parameters(model):
        rate = model.scales.rate(declared.role)
        if declared.role.kind in (Kind.EMBEDDING, Kind.HEAD):
            rate *= embedding_rate
        decay = weight_decay / rate if declared.role.decays else 0.0
        members.setdefault((rate, decay), []).append(declared.parameter)
    return [
        {"params": parameters, "rate": rate, "weight_decay": decay}
        for (rate, decay), parameters in members.items()
    ]


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Gives each group the learning rate times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["rate"]
