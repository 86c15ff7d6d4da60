"""What each part of a model costs: its parameters, FLOPs and memory; and the size it leaves free.

The parts are embedding, attention, feed-forward and norm. A variant is a class here, an entry in
its part's table, and a module of the same name in `model.network`. Search, budget, table, FLOPs and
memory use only what the class says, so a new variant needs nothing else.

The contract of a part, which the search relies on:

- Its methods are formulas over sizes, for all layers together. They take integers (a ModelConfig)
  or arrays that broadcast (the search's candidates), so use np.maximum rather than max.
- Its parameters may depend on its `free` size, which the search chooses, and on the vocabulary, the
  width, the depth and, for attention, the numbers of heads; not on another part's free size. They
  never decrease as one of these grows. Constants and vectors are allowed.

Works without torch; imports nothing of this project.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
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


class Embedding(Part):
    """Embedding and lm_head: a vocabulary × width matrix each, or one shared by both.

    Args:
        tied: whether the head is the embedding, transposed (Press and Wolf, 2017).
    """

    free = "d_model"

    def __init__(self, *, tied: bool) -> None:
        self._tied = tied

    def lm_head(self, sizes: Sizes) -> Amount:
        """Parameters of the head's own matrix; 0 when tied."""
        return 0 * sizes.d_model if self._tied else sizes.vocab_size * sizes.d_model

    def parameters(self, sizes: Sizes) -> Amount:
        return sizes.vocab_size * sizes.d_model + self.lm_head(sizes)

    def forward_flops(self, sizes: Sizes) -> Amount:
        """The head's product; the look-up in the embedding costs none."""
        return 2 * sizes.vocab_size * sizes.d_model

    def activation_bytes(self, sizes: Sizes, bytes_per_activation: int) -> Amount:
        """None. Logits are left out: how many exist at once depends on the loss."""
        return 0

    def matrix(self, sizes: Sizes) -> str:
        """The sizes of the embedding, for the parameter table."""
        return f"{sizes.vocab_size} × {sizes.d_model}"

    def rows(self, sizes: Sizes) -> tuple[Row, ...]:
        matrix = self.matrix(sizes)
        lm_head = self.lm_head(sizes)
        return (
            Row(part="embedding", shape=matrix, parameters=self.parameters(sizes) - lm_head),
            Row(
                part="lm_head",
                shape="the embedding" if self._tied else matrix,
                parameters=lm_head,
            ),
        )


class FactorizedEmbedding(Embedding):
    """Two matrices in place of one: vocabulary × rank and rank × width.

    Lan et al., 2020, "ALBERT", section 3.1. The share of the parameters fixes the rank, so
    that the width may vary separately.

    Args:
        tied: whether embedding and head are one pair of matrices, or have one each.
    """

    free = "embedding_rank"

    def _pair(self, sizes: Sizes) -> Amount:
        return sizes.embedding_rank * (sizes.vocab_size + sizes.d_model)

    def lm_head(self, sizes: Sizes) -> Amount:
        """Parameters of the head's own pair; 0 when tied."""
        return 0 * sizes.d_model if self._tied else self._pair(sizes)

    def parameters(self, sizes: Sizes) -> Amount:
        return self._pair(sizes) + self.lm_head(sizes)

    def forward_flops(self, sizes: Sizes) -> Amount:
        """Rank to width after the look-up, which costs none; width to rank to logits."""
        return 2 * sizes.embedding_rank * (sizes.vocab_size + 2 * sizes.d_model)

    def activation_bytes(self, sizes: Sizes, bytes_per_activation: int) -> Amount:
        """The inputs of the two products between rank and width."""
        return (sizes.embedding_rank + sizes.d_model) * bytes_per_activation

    def matrix(self, sizes: Sizes) -> str:
        rank = sizes.embedding_rank
        return f"{sizes.vocab_size} × {rank} + {rank} × {sizes.d_model}"


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


class MultiHeadAttention(LayerPart):
    """Queries, keys, values and output: 2·d_model·d_attention + 2·d_model·d_kv.

    Keys and values may have fewer heads than queries (Ainslie et al., 2023, "GQA").
    """

    label = "attention"
    free = "head_dim"

    def matrices(self, sizes: Sizes) -> Amount:
        return 2 * sizes.d_model * (sizes.d_attention + sizes.d_kv)

    def forward_flops(self, sizes: Sizes) -> Amount:
        """The matrices, and 2·d_attention each for scores and the weighted sum of values, per
        position that a token attends to: (context + 1) / 2 on average in a causal sequence."""
        scores = sizes.n_layers * sizes.d_attention * (sizes.context + 1)
        return super().forward_flops(sizes) + 2 * scores

    def kept(self, sizes: Sizes) -> Amount:
        """The input; queries, keys, values, what attention read, and its copy with heads merged."""
        return sizes.d_model + 3 * sizes.d_attention + 2 * sizes.d_kv

    def shape(self, sizes: Sizes) -> str:
        heads = f"{sizes.n_heads} heads of {sizes.head_dim}, {sizes.d_model} × {sizes.d_attention}"
        if sizes.d_kv == sizes.d_attention:
            return heads
        return f"{heads}, {sizes.d_kv // sizes.head_dim} of keys and values"


class QKNormAttention(MultiHeadAttention):
    """Queries and keys of each head are normalised, with a gain each that all heads share."""

    def vectors(self, sizes: Sizes) -> Amount:
        return 2 * sizes.head_dim

    def activation_bytes(self, sizes: Sizes, bytes_per_activation: int) -> Amount:
        """Also the norms' inputs and outputs before the gain, always in fp32."""
        normed = 2 * (sizes.d_attention + sizes.d_kv) * FP32_BYTES
        kept = super().activation_bytes(sizes, bytes_per_activation)
        return kept + sizes.n_layers * normed

    def shape(self, sizes: Sizes) -> str:
        return f"{super().shape(sizes)}, 2 norms of {sizes.head_dim}"


class FeedForward(LayerPart):
    """`up` and `down`: 2·d_model·d_ff."""

    label = "feed-forward"
    free = "d_ff"

    def matrices(self, sizes: Sizes) -> Amount:
        return 2 * sizes.d_model * sizes.d_ff

    def kept(self, sizes: Sizes) -> Amount:
        """The input, `up` and its activation."""
        return sizes.d_model + 2 * sizes.d_ff

    def shape(self, sizes: Sizes) -> str:
        return f"{sizes.d_model} × {sizes.d_ff}"


class GatedFeedForward(FeedForward):
    """`gate`, `up` and `down`: 3·d_model·d_ff (Shazeer, 2020)."""

    def matrices(self, sizes: Sizes) -> Amount:
        return 3 * sizes.d_model * sizes.d_ff

    def kept(self, sizes: Sizes) -> Amount:
        """The input, `gate`, its activation, `up` and their product."""
        return sizes.d_model + 4 * sizes.d_ff


class MixtureOfExperts(GatedFeedForward):
    """Experts with SwiGLU's matrices, of which a router chooses some for each token.

    Per layer n_experts of 3·d_model·d_ff, a router of d_model × n_experts, and experts of the same
    size that all tokens share (Shazeer et al., 2017; Dai et al., 2024, "DeepSeekMoE"). `d_ff` is
    the inner width of one expert.
    """

    reports: Mapping[str, Reported] = {
        "balance_loss": Reported(title="load-balancing loss of the experts", unit="nats"),
        "router_z_loss": Reported(title="z-loss of the router's logits", unit="nats"),
        "router_entropy": Reported(title="entropy of the router", unit="nats"),
        "router_entropy_of_layer/*": Reported(
            title="entropy of the router of a layer", unit="nats", drawn=False
        ),
        "expert_load": Reported(title="load of the busiest expert, over an equal share"),
        "expert_load_of_layer/*": Reported(
            title="load of a layer's busiest expert, over an equal share", drawn=False
        ),
    }

    def _router(self, sizes: Sizes) -> Amount:
        return sizes.d_model * sizes.n_experts

    def matrices(self, sizes: Sizes) -> Amount:
        experts = sizes.n_experts + sizes.shared_experts
        return self._router(sizes) + experts * super().matrices(sizes)

    def active_matrices(self, sizes: Sizes) -> Amount:
        """Of one layer, those that multiply a token: the router, its experts, the shared ones."""
        experts = sizes.top_k + sizes.shared_experts
        return self._router(sizes) + experts * super().matrices(sizes)

    def active_parameters(self, sizes: Sizes) -> Amount:
        return sizes.n_layers * self.active_matrices(sizes)

    def forward_flops(self, sizes: Sizes) -> Amount:
        return 2 * sizes.n_layers * self.active_matrices(sizes)

    def kept(self, sizes: Sizes) -> Amount:
        """The input and the router's probabilities; for each chosen expert its input, `gate`, its
        activation, `up`, their product and what it made; for the shared ones what SwiGLU keeps."""
        chosen = sizes.top_k * (2 * sizes.d_model + 4 * sizes.d_ff)
        return sizes.d_model + 2 * sizes.n_experts + chosen + 4 * sizes.shared_experts * sizes.d_ff

    def rows(self, sizes: Sizes) -> tuple[Row, ...]:
        expert = int(sizes.n_layers * super().matrices(sizes))
        of = f"of {sizes.d_model} × {sizes.d_ff}"
        rows = [
            Row(
                part=self.label,
                shape=f"{sizes.n_layers} layers, {sizes.top_k} of {sizes.n_experts} experts {of}",
                parameters=sizes.n_experts * expert,
            ),
            Row(
                part="router",
                shape=f"{sizes.n_layers} layers, {sizes.d_model} × {sizes.n_experts}",
                parameters=int(sizes.n_layers * self._router(sizes)),
            ),
        ]
        if sizes.shared_experts:
            shape = f"{sizes.n_layers} layers, {sizes.shared_experts} {of}"
            shared = Row(
                part="shared experts", shape=shape, parameters=sizes.shared_experts * expert
            )
            rows.insert(1, shared)
        return tuple(rows)


ROUTED_ACTIVATIONS = 4
"""Activations that each neuron of PolyGLU chooses from."""
ROUTER_WIDTH = 32
"""Inner width of PolyGLU's gate."""


class PolyGLU(GatedFeedForward):
    """SwiGLU's matrices, and per layer the routing (Medeiros, 2026, "PolyGLU", arXiv 2603.13347).

    The routing: a preference of each neuron for each of 4 activations, 4 strengths, and a gate of
    d_model → 32 → 4 with biases.
    """

    reports: Mapping[str, Reported] = {
        "routing_entropy": Reported(title="entropy of PolyGLU's routing", unit="nats"),
        "routing_entropy_of_layer/*": Reported(
            title="entropy of PolyGLU's routing in a layer", unit="nats", drawn=False
        ),
    }

    def matrices(self, sizes: Sizes) -> Amount:
        router = ROUTER_WIDTH * (sizes.d_model + ROUTED_ACTIVATIONS)
        return super().matrices(sizes) + router

    def vectors(self, sizes: Sizes) -> Amount:
        biases = ROUTER_WIDTH + ROUTED_ACTIVATIONS
        return ROUTED_ACTIVATIONS * (sizes.d_ff + 1) + biases

    def routing(self, sizes: Sizes) -> Amount:
        """What it has besides SwiGLU's matrices, in all layers."""
        return self.parameters(sizes) - sizes.n_layers * super().matrices(sizes)

    def kept(self, sizes: Sizes) -> Amount:
        """The input, `gate`, `up`, the mixed product, and the gate's hidden vector, twice."""
        return sizes.d_model + 3 * sizes.d_ff + 2 * ROUTER_WIDTH

    def rows(self, sizes: Sizes) -> tuple[Row, ...]:
        (whole,) = super().rows(sizes)
        routing = int(self.routing(sizes))
        shape = (
            f"{sizes.n_layers} layers, {sizes.d_ff} × {ROUTED_ACTIVATIONS} and "
            f"{sizes.d_model} → {ROUTER_WIDTH} → {ROUTED_ACTIVATIONS}"
        )
        return (
            replace(whole, parameters=whole.parameters - routing),
            Row(part="routing", shape=shape, parameters=routing),
        )


class PublishedPolyGLU(PolyGLU):
    """As published: the gate reads the mean over the whole sequence."""

    not_for_training = (
        "its gate reads the mean over the whole sequence, so that each position sees the tokens "
        "that it is to predict; take polyglu, whose mean ends at the position"
    )


class RMSNorm(Part):
    """A gain for each unit of width: two norms per layer, and one at the end."""

    def parameters(self, sizes: Sizes) -> Amount:
        return (2 * sizes.n_layers + 1) * sizes.d_model

    def forward_flops(self, sizes: Sizes) -> Amount:
        """Not counted, as in Kaplan et al., 2020."""
        return 0

    def activation_bytes(self, sizes: Sizes, bytes_per_activation: int) -> Amount:
        """For each of a layer's norms its input, and its output before the gain, always in fp32."""
        return sizes.n_layers * 4 * sizes.d_model * FP32_BYTES

    def rows(self, sizes: Sizes) -> tuple[Row, ...]:
        shape = f"{2 * sizes.n_layers + 1} of {sizes.d_model}"
        return (Row(part="norms", shape=shape, parameters=self.parameters(sizes)),)


EMBEDDINGS: Mapping[str, Embedding] = {
    "tied": Embedding(tied=True),
    "untied": Embedding(tied=False),
    "factorized": FactorizedEmbedding(tied=True),
    "factorized_untied": FactorizedEmbedding(tied=False),
}
ATTENTIONS: Mapping[str, LayerPart] = {
    "multi_head": MultiHeadAttention(),
    "qk_norm": QKNormAttention(),
}
FEED_FORWARDS: Mapping[str, LayerPart] = {
    "swiglu": GatedFeedForward(),
    "geglu": GatedFeedForward(),
    "reglu": GatedFeedForward(),
    "relu_squared": FeedForward(),
    "relu": FeedForward(),
    "gelu": FeedForward(),
    "moe": MixtureOfExperts(),
    "polyglu": PolyGLU(),
    "polyglu_published": PublishedPolyGLU(),
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
"""The variants of each part by name. The part's name is also the field of ModelSpec and ModelConfig
that picks one."""


def has_rank(embedding: str) -> bool:
    """Whether an embedding of this name has a rank."""
    return EMBEDDINGS[embedding].free == "embedding_rank"


def has_experts(feed_forward: str) -> bool:
    """Whether a feed-forward of this name has experts."""
    return isinstance(FEED_FORWARDS[feed_forward], MixtureOfExperts)


class Choice(Protocol):
    """Names a variant of each part, as ModelSpec and ModelConfig do."""

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
