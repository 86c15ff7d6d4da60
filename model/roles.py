"""The role of a parameter, which decides its initialisation, learning rate and weight decay.

Every parameter has a `Role`, declared where the parameter is made (model.network.parameters).
Initialisation, the optimiser's groups and muP (model.mup) read roles and nothing else: no names, no
shapes, no classes. Imports no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

SIZES = ("d_model", "d_attention", "d_ff")
"""The sizes of a ModelConfig that can be the input of a hidden matrix."""


class Kind(StrEnum):
    """The classes of parameters in muP (Yang et al., 2022, "Tensor Programs V", table 8)."""

    EMBEDDING = "embedding"
    """Tokens to vectors, tied to the head or not. Its rate is the same at every size."""
    HEAD = "head"
    """Vectors to logits. The multiplier of the logits takes the place of a rate of its own."""
    HIDDEN = "hidden"
    """A matrix between two sizes that grow with the model."""
    VECTOR = "vector"
    """One number, or a few, for each entry of a vector: gains, biases, a slope per neuron."""


@dataclass(frozen=True, kw_only=True)
class Normal:
    """Starts with draws from a normal distribution of mean 0."""

    std: float


@dataclass(frozen=True, kw_only=True)
class Constant:
    """Starts at one value everywhere."""

    value: float


Start: TypeAlias = Normal | Constant


@dataclass(frozen=True, kw_only=True)
class Role:
    """The role of one parameter. Raises ValueError for a combination that makes no sense.

    `hidden_matrix`, `vector`, `embedding_matrix` and `head_matrix` make the usual ones.
    """

    kind: Kind
    """Its class in muP; an optimiser for matrices alone also selects by it."""
    in_block: bool
    """Whether it is inside a residual block; if so, its rate depends on the depth."""
    decays: bool
    """Whether it has weight decay."""
    start: Start
    """How it is initialised."""
    reads: str | None = None
    """Of a hidden matrix: the size that it reads, one of SIZES. Its rate compares `fan_in` with
    this size of the baseline."""
    fan_in: int | None = None
    """Of a hidden matrix: how many inputs each output is a sum over."""

    @property
    def writes_stream(self) -> bool:
        """Whether its outputs are added to the residual stream: inside a block, all that reads what
        the block made of the stream does so."""
        return self.in_block and self.reads in ("d_attention", "d_ff")

    def __post_init__(self) -> None:
        if self.kind is Kind.HIDDEN:
            if self.reads not in SIZES:
                raise ValueError(
                    f"a hidden matrix reads {self.reads!r}; it must read one of {', '.join(SIZES)}"
                )
            if self.fan_in is None or self.fan_in < 1:
                raise ValueError(f"a hidden matrix has fan_in {self.fan_in}; it must be at least 1")
        elif self.reads is not None or self.fan_in is not None:
            raise ValueError(
                f"a parameter of kind {self.kind} has no fan-in; leave out reads and fan_in"
            )


def hidden_matrix(*, reads: str, fan_in: int, in_block: bool = True) -> Role:
    """Initial variance 1 / fan-in: a branch has the scale of its input at every width; decays."""
    return Role(
        kind=Kind.HIDDEN,
        in_block=in_block,
        decays=True,
        start=Normal(std=1 / math.sqrt(fan_in)),
        reads=reads,
        fan_in=fan_in,
    )


def vector(*, in_block: bool, start: float) -> Role:
    """Starts at one value everywhere; does not decay."""
    return Role(kind=Kind.VECTOR, in_block=in_block, decays=False, start=Constant(value=start))


def small_matrix(*, fan_in: int, in_block: bool = True) -> Role:
    """A matrix whose sizes do not grow with the model: its rate is a vector's; decays.

    In muP only the sizes that grow decide about rates (Yang et al., 2022, "Tensor Programs V",
    section 6 and table 8), so a matrix without one learns as a bias does.
    """
    return Role(
        kind=Kind.VECTOR, in_block=in_block, decays=True, start=Normal(std=1 / math.sqrt(fan_in))
    )


def embedding_matrix(*, std: float) -> Role:
    """The same initial std at every width; decays."""
    return Role(kind=Kind.EMBEDDING, in_block=False, decays=True, start=Normal(std=std))


def head_matrix(*, std: float) -> Role:
    """The same initial std at every width, because the logits have a multiplier; decays."""
    return Role(kind=Kind.HEAD, in_block=False, decays=True, start=Normal(std=std))
