"""What every part tells of itself, and the contract that the search relies on.

- The methods of a part are formulas over sizes, for all layers together. They take integers (a
  ModelConfig) or arrays that broadcast (the search's candidates): np.maximum rather than max.
- Its parameters may depend on its `free` size, which the search chooses, and on the vocabulary, the
  width, the depth and, for attention, the numbers of heads; not on another part's free size. They
  never decrease as one of these grows. Constants and vectors are allowed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

FP32_BYTES = 4
Amount: TypeAlias = Any
"""An integer or an array of integers; a formula returns the kind that it was given."""


class Sizes(Protocol):
    """The sizes that a formula may read; a ModelConfig has them as integers."""

    @property
    def vocab_size(self) -> Amount: ...
    @property
    def context(self) -> Amount: ...
    @property
    def d_model(self) -> Amount: ...
    @property
    def n_layers(self) -> Amount: ...
    @property
    def n_heads(self) -> Amount: ...
    @property
    def head_dim(self) -> Amount: ...
    @property
    def d_attention(self) -> Amount: ...
    @property
    def d_kv(self) -> Amount: ...
    @property
    def d_ff(self) -> Amount: ...
    @property
    def embedding_rank(self) -> Amount: ...
    @property
    def n_experts(self) -> Amount: ...
    @property
    def top_k(self) -> Amount: ...
    @property
    def shared_experts(self) -> Amount: ...


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the parameter table."""

    part: str
    shape: str
    """The sizes that make up the count: `16000 × 220`."""
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A metric that a part's network reports during training (see model.network.context)."""

    title: str
    unit: str = ""
    """Empty for a pure number."""
    drawn: bool = True
    """Whether the report has a panel and a column for it."""


class Part(ABC):
    """One part of a model, all layers together."""

    free: str | None = None
    """The size that the search chooses for this part: d_model or embedding_rank for an embedding,
    head_dim for an attention, d_ff for a feed-forward; None if it has none of its own."""
    reports: Mapping[str, Reported] = {}
    """The auxiliary losses and diagnostics that its network reports, by name."""
    follows_progress: bool = False
    """Whether its network changes with the share of the training that is done."""
    not_for_training: str = ""
    """Why a language model with it is not trained, and what to take; empty if it may be."""

    @abstractmethod
    def parameters(self, sizes: Sizes) -> Amount:
        """Trainable parameters."""

    def active_parameters(self, sizes: Sizes) -> Amount:
        """Parameters used for one token: all, unless a router chooses among experts."""
        return self.parameters(sizes)

    @abstractmethod
    def forward_flops(self, sizes: Sizes) -> Amount:
        """FLOPs of one token's forward pass; a multiply-add counts as two."""

    @abstractmethod
    def activation_bytes(self, sizes: Sizes, bytes_per_activation: int) -> Amount:
        """Bytes per token that an eager forward pass keeps for the backward pass: an estimate.

        bytes_per_activation: 2 if matrix products run in bf16, 4 in fp32.
        """

    @abstractmethod
    def rows(self, sizes: Sizes) -> tuple[Row, ...]:
        """The part's lines in the parameter table; they add up to `parameters`."""


class LayerPart(Part):
    """A part that each layer has once: attention or feed-forward.

    A variant gives one layer's matrix entries, its other parameters, and what it keeps.
    """

    label: str

    @abstractmethod
    def matrices(self, sizes: Sizes) -> Amount:
        """Entries of one layer's matrices; each matrix multiplies every token once."""

    def vectors(self, sizes: Sizes) -> Amount:
        """Other parameters of one layer: gains, biases, gates. Their FLOPs are not counted."""
        return 0

    @abstractmethod
    def kept(self, sizes: Sizes) -> Amount:
        """Numbers per token that one layer keeps for the backward pass."""

    @abstractmethod
    def shape(self, sizes: Sizes) -> str:
        """One layer's matrices, for the parameter table."""

    def parameters(self, sizes: Sizes) -> Amount:
        return sizes.n_layers * (self.matrices(sizes) + self.vectors(sizes))

    def forward_flops(self, sizes: Sizes) -> Amount:
        return 2 * sizes.n_layers * self.matrices(sizes)

    def activation_bytes(self, sizes: Sizes, bytes_per_activation: int) -> Amount:
        return sizes.n_layers * self.kept(sizes) * bytes_per_activation

    def rows(self, sizes: Sizes) -> tuple[Row, ...]:
        shape = f"{sizes.n_layers} layers, {self.shape(sizes)}"
        return (Row(part=self.label, shape=shape, parameters=int(self.parameters(sizes))),)
