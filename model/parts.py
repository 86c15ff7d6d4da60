"""What each part of a model has: its parameters, its operations, its memory, and its free size.

A part is embedding, attention, feed-forward or norm; a variant of one is a class here, an entry in
its table, and a module of the same name in `model.network`. Search, budget, table, FLOPs and memory
know of a variant only what its class says, so a new one needs nothing else.

The contract of a part, which the search relies on:

- Its methods are formulas over sizes. They speak of all layers together, and work on whole numbers
  (a ModelConfig) as on arrays of them that broadcast (the search's candidates). Use np.maximum
  rather than max.
- Its parameters depend on the size named `free`, which is the search's to choose, and on the
  vocabulary, the width, the depth and, for attention, the number of heads; not on another part's
  free size. They do not decrease where one of these grows. Constants and vectors are welcome.

Works without torch; imports nothing of this project.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

FP32_BYTES = 4

Amount: TypeAlias = Any
"""A whole number or an array of them: a formula gives back what it is given."""


class Sizes(Protocol):
    """What a formula may read; a ModelConfig has it all as whole numbers."""

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
    def d_ff(self) -> Amount: ...


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the parameter table."""

    part: str
    shape: str
    """How the count comes about, in the sizes of a model."""
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A number that a part reports while it is trained (model.network.context), for people."""

    title: str
    unit: str = ""
    """Empty for a pure number."""


class Part(ABC):
    """One part of a model, all layers together."""

    free: str | None = None
    """The size that the search chooses for this part; None where it has none of its own."""
    reports: Mapping[str, Reported] = {}
    """The auxiliary losses and diagnostics that its network reports, by name."""

    @abstractmethod
    def parameters(self, sizes: Sizes) -> Amount:
        """Trainable parameters."""

    def active_parameters(self, sizes: Sizes) -> Amount:
        """Those of them that work on one token; all, unless a router chooses among experts."""
        return self.parameters(sizes)

    @abstractmethod
    def forward_flops(self, sizes: Sizes) -> Amount:
        """Operations of one token's forward pass, a multiply-add counted as two."""

    @abstractmethod
    def activation_bytes(self, sizes: Sizes, bytes_per_activation: int) -> Amount:
        """Bytes a token that an eager forward pass keeps for the backward pass: an estimate.

        bytes_per_activation: 2 where products are computed in bf16, 4 in fp32.
        """

    @abstractmethod
    def rows(self, sizes: Sizes) -> tuple[Row, ...]:
        """The part's lines in the parameter table, whose parameters add up to its own."""


class Embedding(Part):
    """The embedding and the lm_head, a matrix of vocabulary × width each, or one for both.

    Args:
        tied: whether the head is the embedding, transposed (Press and Wolf, 2017).
    """

    free = "d_model"

    def __init__(self, *, tied: bool) -> None:
        self._tied = tied

    def lm_head(self, sizes: Sizes) -> Amount:
        """Parameters that the head has for itself."""
        return 0 * sizes.d_model if self._tied else sizes.vocab_size * sizes.d_model

    def parameters(self, sizes: Sizes) -> Amount:
        return sizes.vocab_size * sizes.d_model + self.lm_head(sizes)

    def forward_flops(self, sizes: Sizes) -> Amount:
        """The head's product; looking up a row costs none."""
        return 2 * sizes.vocab_size * sizes.d_model

    def activation_bytes(self, sizes: Sizes, bytes_per_activation: int) -> Amount:
        """None: how many logits are alive at once is up to the loss."""
        return 0

    def rows(self, sizes: Sizes) -> tuple[Row, ...]:
        matrix = f"{sizes.vocab_size} × {sizes.d_model}"
        lm_head = self.lm_head(sizes)
        return (
            Row(part="embedding", shape=matrix, parameters=self.parameters(sizes) - lm_head),
            Row(
                part="lm_head",
                shape="the embedding" if self._tied else matrix,
                parameters=lm_head,
            ),
        )


class LayerPart(Part):
    """A part that every layer has once, as attention and feed-forward are.

    A variant says how many entries its matrices have, what else it has, and what it keeps.
    """

    label: str

    @abstractmethod
    def matrices(self, sizes: Sizes) -> Amount:
        """Entries of one layer's matrices, each of which multiplies every token once."""

    def vectors(self, sizes: Sizes) -> Amount:
        """Other parameters of one layer: gains, biases, gates. Their operations are not counted."""
        return 0

    @abstractmethod
    def kept(self, sizes: Sizes) -> Amount:
        """Numbers a token that one layer keeps for the backward pass."""

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


class MultiHeadAttention(LayerPart):
    """Queries, keys and values of width d_attention, and the output: 4·d_model·d_attention."""

    label = "attention"
    free = "head_dim"

    def matrices(self, sizes: Sizes) -> Amount:
        return 4 * sizes.d_model * sizes.d_attention

    def forward_flops(self, sizes: Sizes) -> Amount:
        """Those of the matrices; for scores and the sum over values 2·d_attention each, for every
        position that a token sees: (context + 1) / 2 on average in a causal sequence."""
        scores = sizes.n_layers * sizes.d_attention * (sizes.context + 1)
        return super().forward_flops(sizes) + 2 * scores

    def kept(self, sizes: Sizes) -> Amount:
        """What enters the matrices; queries, keys, values, what attention read and its copy by
        position."""
        return sizes.d_model + 5 * sizes.d_attention

    def shape(self, sizes: Sizes) -> str:
        return f"{sizes.n_heads} heads of {sizes.head_dim}, {sizes.d_model} × {sizes.d_attention}"


class FeedForward(LayerPart):
    """`up` and `down`: 2·d_model·d_ff."""

    label = "feed-forward"
    free = "d_ff"

    def matrices(self, sizes: Sizes) -> Amount:
        return 2 * sizes.d_model * sizes.d_ff

    def kept(self, sizes: Sizes) -> Amount:
        """What enters the matrices, `up` and its activation."""
        return sizes.d_model + 2 * sizes.d_ff

    def shape(self, sizes: Sizes) -> str:
        return f"{sizes.d_model} × {sizes.d_ff}"


class GatedFeedForward(FeedForward):
    """`gate`, `up` and `down`: 3·d_model·d_ff (Shazeer, 2020)."""

    def matrices(self, sizes: Sizes) -> Amount:
        return 3 * sizes.d_model * sizes.d_ff

    def kept(self, sizes: Sizes) -> Amount:
        """What enters the matrices, `gate`, its activation, `up` and their product."""
        return sizes.d_model + 4 * sizes.d_ff


class RMSNorm(Part):
    """A gain for each unit of width: two norms a layer, and one at the end."""

    def parameters(self, sizes: Sizes) -> Amount:
        return (2 * sizes.n_layers + 1) * sizes.d_model

    def forward_flops(self, sizes: Sizes) -> Amount:
        """Not counted, as in Kaplan et al., 2020."""
        return 0

    def activation_bytes(self, sizes: Sizes, bytes_per_activation: int) -> Amount:
        """What enters each of a layer's norms and what it is before its gain, always in fp32."""
        return sizes.n_layers * 4 * sizes.d_model * FP32_BYTES

    def rows(self, sizes: Sizes) -> tuple[Row, ...]:
        shape = f"{2 * sizes.n_layers + 1} of {sizes.d_model}"
        return (Row(part="norms", shape=shape, parameters=self.parameters(sizes)),)


EMBEDDINGS: Mapping[str, Embedding] = {
    "tied": Embedding(tied=True),
    "untied": Embedding(tied=False),
}
ATTENTIONS: Mapping[str, LayerPart] = {
    "multi_head": MultiHeadAttention(),
}
FEED_FORWARDS: Mapping[str, LayerPart] = {
    "swiglu": GatedFeedForward(),
    "geglu": GatedFeedForward(),
    "reglu": GatedFeedForward(),
    "relu_squared": FeedForward(),
}
NORMS: Mapping[str, Part] = {
    "rms_norm": RMSNorm(),
}

VARIANTS: Mapping[str, Mapping[str, Part]] = {
    "embedding": EMBEDDINGS,
    "attention": ATTENTIONS,
    "feed_forward": FEED_FORWARDS,
    "norm": NORMS,
}
"""The variants of each part by name. A part's name is that of the field of ModelSpec and
ModelConfig that chooses among them."""


class Choice(Protocol):
    """What names a variant of each part, as ModelSpec and ModelConfig do."""

    @property
    def embedding(self) -> str: ...
    @property
    def attention(self) -> str: ...
    @property
    def feed_forward(self) -> str: ...
    @property
    def norm(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of one model."""

    embedding: Embedding
    attention: LayerPart
    feed_forward: LayerPart
    norm: Part

    @classmethod
    def of(cls, choice: Choice) -> Parts:
        """The parts that a spec or a configuration names."""
        return cls(
            embedding=EMBEDDINGS[choice.embedding],
            attention=ATTENTIONS[choice.attention],
            feed_forward=FEED_FORWARDS[choice.feed_forward],
            norm=NORMS[choice.norm],
        )

    def __iter__(self) -> Iterator[Part]:
        """The parts in the order of the parameter table."""
        yield from (self.embedding, self.attention, self.feed_forward, self.norm)

    def parameters(self, sizes: Sizes) -> Amount:
        """Trainable parameters of the whole model, each once."""
        return sum(part.parameters(sizes) for part in self)
