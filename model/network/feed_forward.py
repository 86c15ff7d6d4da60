"""The feed-forward, which works on each position on its own.

A variant is a class with the methods of `FeedForward`, a line in FEED_FORWARDS, and its entry in
model/parts/.

Shapes: B sequences, T tokens, D width, F inner width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional

from model.network.context import Context
from model.network.moe import MixtureOfExperts
from model.network.polyglu import PolyGLU, PublishedPolyGLU
from model.network.projection import Projection, projected
from model.spec import ModelConfig


class FeedForward(Protocol):
    """What a block needs of its feed-forward, built from a ModelConfig."""

    def __call__(self, hidden_BTD: Tensor, context: Context) -> Tensor:
        """[B, T, D] to [B, T, D]; auxiliary losses and diagnostics go to the context."""


class GatedFeedForward(nn.Module):
    """down(activation(gate(x)) · up(x)), three matrices: 3·D·F (Shazeer, 2020)."""

    activation: Callable[[Tensor], Tensor]

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = Projection(config, reads="d_model", writes="d_ff")
        self.up = Projection(config, reads="d_model", writes="d_ff")
        self.down = Projection(config, reads="d_ff", writes="d_model")

    def forward(self, hidden_BTD: Tensor, context: Context) -> Tensor:
        """[B, T, D] to [B, T, D], each position on its own."""
        gate_BTF, up_BTF = projected(hidden_BTD, self.gate, self.up)
        inner_BTF = self.activation(gate_BTF) * up_BTF
        output: Tensor = self.down(inner_BTF)
        return output


class SwiGLU(GatedFeedForward):
    """The gate is x · sigmoid(x)."""

    activation = staticmethod(functional.silu)


class GEGLU(GatedFeedForward):
    """The gate is x · Φ(x), Φ the normal distribution."""

    activation = staticmethod(functional.gelu)


class ReGLU(GatedFeedForward):
    """The gate is max(x, 0)."""

    activation = staticmethod(functional.relu)


class PlainFeedForward(nn.Module):
    """down(activation(up(x))), two matrices: 2·D·F (Vaswani et al., 2017)."""

    activation: Callable[[Tensor], Tensor]

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = Projection(config, reads="d_model", writes="d_ff")
        self.down = Projection(config, reads="d_ff", writes="d_model")

    def forward(self, hidden_BTD: Tensor, context: Context) -> Tensor:
        """[B, T, D] to [B, T, D], each position on its own."""
        output: Tensor = self.down(self.activation(self.up(hidden_BTD)))
        return output


def relu_squared(inner: Tensor) -> Tensor:
    """max(x, 0)² (So et al., 2021)."""
    return functional.relu(inner).square()


class ReLUSquared(PlainFeedForward):
    """The activation is max(x, 0)²."""

    activation = staticmethod(relu_squared)


class ReLU(PlainFeedForward):
    """The activation is max(x, 0)."""

    activation = staticmethod(functional.relu)


class GELU(PlainFeedForward):
    """The activation is x · Φ(x), Φ the normal distribution."""

    activation = staticmethod(functional.gelu)


FEED_FORWARDS: dict[str, Callable[..., FeedForward]] = {
    "swiglu": SwiGLU,
    "moe": MixtureOfExperts,
    "geglu": GEGLU,
    "reglu": ReGLU,
    "relu_squared": ReLUSquared,
    "relu": ReLU,
    "gelu": GELU,
    "polyglu": PolyGLU,
    "polyglu_published": PublishedPolyGLU,
}
