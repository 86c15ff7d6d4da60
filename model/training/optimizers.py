"""The optimisers: AdamW, or Muon with AdamW, each parameter at the rate that its role gives it.

A variant is a function and a line in OPTIMIZERS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from model.network.parameters import DeclaredParameter, declared_parameters
from model.network.transformer import Transformer
from model.roles import Kind
from model.training.batched_muon import BatchedMuon
from model.training.muon import MuonWithAdamW, Optimizer, is_for_muon, muon_groups, parts_of
from model.training.settings import TrainingSettings

Filter: TypeAlias = Callable[[DeclaredParameter], bool]
"""Which parameters are meant."""

EPSILON = 1e-12
"""Far below the square root of any second moment seen here, so muP need not scale it."""


def optimizer_of(model: Transformer, settings: TrainingSettings) -> Optimizer:
    """The optimiser that the settings name, over all parameters, at learning rate 0."""
    return OPTIMIZERS[settings.optimizer](model, settings)


def _adamw(
    model: Transformer, settings: TrainingSettings, *, but: Filter = lambda _: False
) -> torch.optim.AdamW:
    return adamw(
        model,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        embedding_rate=settings.embedding_rate,
        but=but,
    )


def _muon(model: Transformer, settings: TrainingSettings) -> Optimizer:
    """Muon for the hidden matrices, at `muon_learning_rate`; AdamW for everything else."""
    return MuonWithAdamW(
        muon_groups(
            model,
            learning_rate=settings.muon_learning_rate / settings.learning_rate,
            weight_decay=settings.weight_decay,
        ),
        _adamw(model, settings, but=is_for_muon),
        momentum=settings.muon_momentum,
        batched=next(model.parameters()).is_cuda,
    )


OPTIMIZERS: Mapping[str, Callable[[Transformer, TrainingSettings], Optimizer]] = {
    "adamw": _adamw,
    "muon": _muon,
}
"""By the names in `settings.OPTIMIZERS`."""


def adamw(
    model: Transformer,
    *,
    betas: tuple[float, float],
    weight_decay: float,
    embedding_rate: float = 1.0,
    but: Filter = lambda _: False,
) -> torch.optim.AdamW:
    """Fused AdamW (Loshchilov and Hutter, 2019) over all parameters but some, at learning rate 0.

    A parameter's role says whether it decays: matrices do, gains do not. Decay is divided by the
    rate's factor: AdamW multiplies the two, and the product must be the same in every cell.
    """
    groups = parameter_groups(
        model, weight_decay=weight_decay, embedding_rate=embedding_rate, but=but
    )
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=EPSILON, fused=True)


def parameter_groups(
    model: Transformer,
    *,
    weight_decay: float,
    embedding_rate: float = 1.0,
    but: Filter = lambda _: False,
) -> list[dict[str, Any]]:
    """Groups of parameters with equal `rate`, a factor of the learning rate, and `weight_decay`.

    embedding_rate: a further factor of the rates of embedding and head, the same at every size.
    but: which parameters to leave out.

    Raises UndeclaredParameterError for a parameter without a role.
    """
    members: dict[tuple[float, float], list[nn.Parameter]] = {}
    for declared in declared_parameters(model):
        if but(declared):
            continue
        rate = model.scales.rate(declared.role)
        if declared.role.kind in (Kind.EMBEDDING, Kind.HEAD):
            rate *= embedding_rate
        decay = weight_decay / rate if declared.role.decays else 0.0
        members.setdefault((rate, decay), []).append(declared.parameter)
    return [
        {"params": parameters, "rate": rate, "weight_decay": decay}
        for (rate, decay), parameters in members.items()
    ]


def step_unless(not_finite: Tensor, optimizer: Optimizer) -> None:
    """A step, if the number is 0; if it is 1, weights and moments stay as they are.

    Only Muon waits for the number: torch's, which is for CPUs here, and that of several processes.
    """
    for part in parts_of(optimizer):
        if isinstance(part, (torch.optim.AdamW, BatchedMuon)):
            part.found_inf = not_finite  # type: ignore[union-attr]
            part.step()
        elif not not_finite.item():
            part.step()


def set_learning_rate(optimizer: Optimizer, learning_rate: float, *, in_fp32: bool = False) -> None:
    """Gives each group the learning rate times its factor.

    in_fp32: rounds it to what a number on the device would be, see `rates_from`.
    """
    for group in optimizer.param_groups:
        rate = learning_rate * group["rate"]
        group["lr"] = float(np.float32(rate)) if in_fp32 else rate


def learning_rates(optimizer: Optimizer) -> Tensor:
    """Those of the groups [G] now, in fp32 on the CPU."""
    return torch.tensor([group["lr"] for group in optimizer.param_groups], dtype=torch.float32)


@contextmanager
def rates_from(optimizer: Optimizer, rates_G: Tensor) -> Iterator[None]:
    """Inside, each group's rate is a number on the device, so that a step can be recorded and
    repeated at other rates."""
    groups = optimizer.param_groups
    names = ("lr", "capturable")
    before: list[dict[str, Any]] = [
        {name: group[name] for name in names if name in group} for group in groups
    ]
    for group, rate, own in zip(groups, rates_G.unbind(), before, strict=True):
        # Without `capturable` torch refuses to record a step of AdamW. A fused one has its counts
        # on the device whatever it says.
        group.update(dict.fromkeys(own, True) | {"lr": rate})
    try:
        yield
    finally:
        for group, own in zip(groups, before, strict=True):
            group.update(own)
