"""The context of one forward pass: what parts of the network read besides their input, and report.

If nothing is reported, a pass computes exactly what it would without this channel. Nothing outlives
the pass, so it is compiled as a whole.

Shapes: B sequences, T tokens, K the head dimension in the rotary table, N random numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from model.network.cache import Cache
from model.network.documents import Documents
from model.network.random_keys import RANDOM_KEYS, uniform

_USES = 16
"""Parts of one layer that may draw numbers of their own."""


class LossOutput(NamedTuple):
    """The result of a forward pass. All are scalars in fp32."""

    cross_entropy: Tensor
    """Mean over the scored targets, in nats."""
    auxiliary_losses: dict[str, Tensor]
    """By name, in nats, each summed over the parts that reported it."""
    diagnostics: dict[str, Tensor]
    """By name, without gradient, each a mean over the parts that reported it."""

    @property
    def total(self) -> Tensor:
        """What training minimises: the cross-entropy and all auxiliary losses."""
        total = self.cross_entropy
        for loss in self.auxiliary_losses.values():
            total = total + loss
        return total


@dataclass(kw_only=True)
class Context:
    """Passed to every part of the network in one forward pass."""

    cos_TK: Tensor
    sin_TK: Tensor
    extras: Mapping[str, Tensor]
    """What the batch has besides tokens, by name: [B, …] each."""
    progress: Tensor
    """How much of the training is done, from 0 to 1: a scalar in fp32."""
    cache: Cache | None = None
    """Of the positions before, if a text is being continued; see `model.network.cache`."""
    layer: int = 0
    """The block that reads this context, from 0."""
    documents: Documents | None = None
    """Of each position, under document masking; None if each sequence is one document."""
    _losses: dict[str, list[Tensor]] = field(default_factory=dict)
    _diagnostics: dict[str, list[Tensor]] = field(default_factory=dict)

    def of_layer(self, layer: int) -> Context:
        """This context for a block, which draws its own numbers; `add_all` takes its reports back.

        Reports of its own, because what is wrapped around a block may copy what it is given.
        """
        return replace(self.apart(), layer=layer)

    def apart(self) -> Context:
        """This context with reports of its own, which `add_all` takes into another one."""
        return replace(self, _losses={}, _diagnostics={})

    @property
    def reports(self) -> tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]]:
        """The losses and the diagnostics so far, by name."""
        return self._losses, self._diagnostics

    def add_all(
        self, losses: Mapping[str, list[Tensor]], diagnostics: Mapping[str, list[Tensor]]
    ) -> None:
        """Takes over what was reported to a context apart."""
        for name, values in losses.items():
            self._losses.setdefault(name, []).extend(values)
        for name, values in diagnostics.items():
            self._diagnostics.setdefault(name, []).extend(values)

    def uniform(self, count: int, *, use: int = 0) -> Tensor | None:
        """Random numbers [B, N] in (0, 1) for this layer; None outside of training.

        They follow from the step, the sequence and the layer (see model.network.random_keys).

        Args:
            count: how many for each sequence.
            use: tells apart the draws of different parts of one layer.
        """
        keys_B = self.extras.get(RANDOM_KEYS)
        if keys_B is None:
            return None
        return uniform(keys_B, count, stream=_USES * self.layer + use)

    def add_loss(self, name: str, loss: Tensor) -> None:
        """Adds an auxiliary loss, a scalar already multiplied by its coefficient.

        A step's metrics have the sum over all layers under `name`; evaluation ignores it.
        Raises ValueError if it is not a scalar.
        """
        self._losses.setdefault(name, []).append(_scalar(name, loss))

    def report(self, name: str, value: Tensor) -> None:
        """Adds a scalar to the step's metrics: the mean over all layers that report `name`.

        If it is costly, compute it only `if self.training`: evaluation ignores it.
        Raises ValueError if it is not a scalar.
        """
        self._diagnostics.setdefault(name, []).append(_scalar(name, value.detach()))

    def output(self, cross_entropy: Tensor) -> LossOutput:
        """The pass's result, with all that was reported."""
        return LossOutput(
            cross_entropy=cross_entropy,
            auxiliary_losses={
                name: torch.stack(losses).sum() for name, losses in self._losses.items()
            },
            diagnostics={
                name: torch.stack(values).mean() for name, values in self._diagnostics.items()
            },
        )


def _scalar(name: str, value: Tensor) -> Tensor:
    if value.ndim:
        raise ValueError(
            f"{name} was reported with the shape {tuple(value.shape)}; it must be one number: "
            "take its mean or its maximum"
        )
    return value.float()
