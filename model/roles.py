"""What a parameter of the network is: all that its start, its rate and its decay follow from.

Every parameter has a `Role`, declared where the parameter is made (model.network.parameters).
Initialisation, the optimiser's groups and the transfer of the learning rate (model.mup) read roles
and nothing else: no names, no shapes, no classes. Imports no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

SIZES = ("d_model", "d_attention", "d_ff")
"""The sizes of every ModelConfig that a hidden matrix may read."""


class Kind(StrEnum):
    """What muP sorts parameters by (Yang et al., 2022, "Tensor Programs V", table 8)."""

    EMBEDDING = "embedding"
    """Tokens to vectors, whether or not the same matrix also scores them: both its sizes' growth
    leaves the rate alone."""
    HEAD = "head"
    """Vectors to logits. The multiplier of the logits stands in for a rate of its own."""
    HIDDEN = "hidden"
    """A matrix between two sizes that grow with the model."""
    VECTOR = "vector"
    """One number, or a few, for each entry of a vector: gains, biases, a slope per neuron."""


@dataclass(frozen=True, kw_only=True)
class Normal:
    """Starts as draws from a normal distribution of mean 0."""

    std: float


@dataclass(frozen=True, kw_only=True)
class Constant:
    """Starts at one value."""

    value: float


Start: TypeAlias = Normal | Constant


@dataclass(frozen=True, kw_only=True)
class Role:
    """The role of one parameter. Raises ValueError for a combination that means nothing.

    `hidden_matrix`, `vector`, `embedding_matrix` and `head_matrix` make the usual ones.
    """

    kind: Kind
    """Its class in muP, which is also what an optimiser of matrices tells matrices by."""
    in_block: bool
    """Whether it is inside a residual block, so that its rate depends on their number."""
    decays: bool
    """Whether weight decay pulls on it."""
    start: Start
    """How it is initialised."""
    reads: str | None = None
    """The size of the baseline that its inputs correspond to, one of SIZES: for hidden matrices."""
    fan_in: int | None = None
    """How many numbers each of its outputs is a sum over: for hidden matrices."""

    def __post_init__(self) -> None:
        if self.kind is Kind.HIDDEN:
            if self.reads not in SIZES:
                raise ValueError(
                    f"a hidden matrix reads {self.reads!r}; it must read one of {', '.join(SIZES)}"
                )
            if self.fan_in is None or self.fan_in < 1:
                raise ValueError(f"a hidden matrix has a fan-in of {self.fan_in}; at least 1")
        elif self.reads is not None or self.fan_in is not None:
            raise ValueError(f"a parameter of kind {self.kind} has no fan-in that its rate follows")


def hidden_matrix(*, reads: str, fan_in: int, in_block: bool = True) -> Role:
    """Variance 1 / fan-in, which keeps a branch at the size of its input at every width; decays."""
    return Role(
        kind=Kind.HIDDEN,
        in_block=in_block,
        decays=True,
        start=Normal(std=1 / math.sqrt(fan_in)),
        reads=reads,
        fan_in=fan_in,
    )


def vector(*, in_block: bool, start: float) -> Role:
    """Starts at one value everywhere, and does not decay."""
    return Role(kind=Kind.VECTOR, in_block=in_block, decays=False, start=Constant(value=start))


def embedding_matrix(*, std: float) -> Role:
    """Equal at every width; decays."""
    return Role(kind=Kind.EMBEDDING, in_block=False, decays=True, start=Normal(std=std))


def head_matrix(*, std: float) -> Role:
    """Equal at every width, because logits have a multiplier of their own; decays."""
    return Role(kind=Kind.HEAD, in_block=False, decays=True, start=Normal(std=std))
