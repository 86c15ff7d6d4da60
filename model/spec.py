"""The model that is asked for (ModelSpec), and the same model with every size fixed (ModelConfig).

A spec has a parameter budget and may leave sizes free; `model.sizing.budget.solve` finds these and
returns a config. The variants of each part are in `model.parts`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from model.experts import EXPERT_DEFAULTS, check_experts
from model.field_types import require_types
from model.parts.embeddings import EMBEDDINGS, has_rank
from model.parts.feed_forwards import has_experts
from model.parts.part import Amount
from model.parts.variants import VARIANTS, Choice

MAX_EXPANSION = 64.0
KV_SHARE_TOLERANCE = 0.02
"""Relative, of a share of key-value heads: 0.33 is a third."""

PINS = ("d_model", "n_layers", "n_heads", "head_dim", "d_ff", "embedding_rank")
"""The sizes that a spec may pin."""

BUDGETS = ("total", "active")
"""Which parameters a budget may count."""


def _check_whole(owner: object, *names: str, may_be_free: bool = False) -> None:
    remedy = ", or None to leave it free" if may_be_free else ""
    for name in names:
        value = getattr(owner, name)
        if value is None and may_be_free:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(
                f"{name} is {value!r}; it must be a whole number of at least 1{remedy}"
            )


def _check_head_dim(head_dim: int) -> None:
    if head_dim % 2:
        raise ValueError(
            f"head_dim is {head_dim}; it must be even, because rotary positions rotate pairs: "
            f"try {head_dim + 1}"
        )


def _check_variants(owner: object) -> None:
    for name, known in VARIANTS.items():
        value = getattr(owner, name)
        if value not in list(known):
            raise ValueError(f"{name} is {value!r}; known: {', '.join(known)}")


def require_trainable(choice: Choice) -> None:
    """Raises ValueError if a variant is not for training a language model, with the reason."""
    for name, variants in VARIANTS.items():
        value = getattr(choice, name)
        if reason := variants[value].not_for_training:
            raise ValueError(f"{name} is {value!r}, which is not for training: {reason}")


def _check_rank(embedding: str, rank: int | None, d_model: int | None) -> None:
    """A rank stands only beside an embedding that has one, and is smaller than the width."""
    if rank is None:
        return
    if not has_rank(embedding):
        ranked = " or ".join(name for name in EMBEDDINGS if has_rank(name))
        raise ValueError(
            f"embedding_rank is {rank}, but the embedding {embedding!r} has no rank; "
            f"leave it out, or set embedding to {ranked}"
        )
    if d_model is not None and rank >= d_model:
        raise ValueError(
            f"embedding_rank is {rank}; it must be less than d_model, which is {d_model}: two "
            f"matrices of such a rank have more parameters than one; take a rank of at most "
            f"{d_model - 1}, or an embedding without a rank"
        )


def _check_between(owner: object, name: str, high: float, *, example: str, closed: bool) -> None:
    value = getattr(owner, name)
    if value is None:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (0 < value < high or (closed and value == high)):
        raise ValueError(
            f"{name} is {value!r}; it must be a number between 0 and {high:g}, "
            f"for example {example}, or None to leave it free"
        )


def _check_kv_heads(n_heads: int, n_kv_heads: int | None, kv_group: int) -> None:
    """Raises ValueError unless every key-value head is read by equally many query heads.

    n_kv_heads: None if the number of query heads that read one, `kv_group`, is given instead.
    """
    divisors = ", ".join(str(size) for size in range(1, n_heads + 1) if n_heads % size == 0)
    if n_kv_heads is not None and n_kv_heads > n_heads:
        raise ValueError(
            f"n_kv_heads is {n_kv_heads}, more than the {n_heads} query heads; take one of "
            f"{divisors}"
        )
    if n_kv_heads is not None and n_heads % n_kv_heads:
        raise ValueError(
            f"n_kv_heads is {n_kv_heads}, which does not divide the {n_heads} query heads; take "
            f"one of {divisors}"
        )
    if n_kv_heads is None and n_heads % kv_group:
        raise ValueError(
            f"kv_share is 1 key-value head for {kv_group} query heads, which do not divide the "
            f"{n_heads} query heads; take a share of 1 over one of {divisors}, or another n_heads"
        )


def _check_network(owner: object) -> None:
    """Settings of the network that are no sizes."""
    base, dropout = (getattr(owner, name) for name in ("rotary_base", "dropout"))
    if isinstance(base, bool) or not isinstance(base, (int, float)) or not 1 < base < math.inf:
        raise ValueError(
            f"rotary_base is {base!r}; it must be a finite number above 1, for example 10000"
        )
    number = isinstance(dropout, (int, float)) and not isinstance(dropout, bool)
    if not number or not 0 <= dropout < 1:
        raise ValueError(
            f"dropout is {dropout!r}; it must be a probability from 0 to less than 1, for example "
            "0.1"
        )


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """The model that a cell asks for: a parameter budget, and what must hold within it.

    Embedding share, expansion and sizes may each be set or left free (None). Share and expansion
    hold within their tolerances, sizes exactly; the rule in `model.sizing.search` chooses what is
    free. Settings that overlap, as `d_ff` and `glu_expansion` do, must agree. If nothing is free,
    the budget is only checked.

    Raises ValueError for values that no model could have.
    """

    target_parameters: int = 10_000_000
    """Trainable parameters; the solver stays within ± 0.5 %. `budget` says which are counted."""
    budget: str = "total"
    """What `target_parameters` and the embedding share count: `total` (all parameters) or `active`
    (those used for one token: with experts, the chosen and the shared ones)."""
    vocab_size: int = 16_000
    """Tokens, the special ones included."""
    embedding_ratio: float | None = 0.35
    """The embedding share: embedding and lm_head over all parameters, ± 0.01. It fixes
    the width at a given vocabulary (to pin another `d_model`, leave the share free), or the rank of
    a factorized embedding."""
    glu_expansion: float | None = 2.66
    """The expansion: d_ff / d_model, ± 2 %, with or without a gate. To pin another `d_ff`,
    leave the expansion free."""
    embedding: str = "tied"
    """`tied` (the head is the embedding, transposed) or `untied`; `factorized` (two matrices,
    vocabulary × rank and rank × width, which the head shares) or `factorized_untied` (two for the
    embedding and two for the head)."""
    attention: str = "multi_head"
    """Kind of the attention."""
    feed_forward: str = "swiglu"
    """Kind of the feed-forward. `moe` is a mixture of SwiGLU experts; it needs `n_experts` and
    `top_k`, and `d_ff` and `glu_expansion` are those of one expert."""
    norm: str = "rms_norm"
    """Kind of the norms."""
    n_heads: int | None = 4
    """Attention heads. If free, they follow from the width, or, if `head_dim` is pinned, from the
    attention's width."""
    context: int = 256
    """Tokens per sequence."""
    d_model: int | None = None
    """Width."""
    n_layers: int | None = None
    """Depth."""
    head_dim: int | None = None
    """Width of a head; the attention's width is n_heads × head_dim."""
    d_ff: int | None = None
    """Inner width of the feed-forward."""
    embedding_rank: int | None = None
    """Rank of a factorized embedding, less than `d_model`. If free, it follows from the share."""
    n_experts: int | None = None
    """Experts in each layer that the router chooses from, for `moe`."""
    top_k: int | None = None
    """Experts that the router chooses for each token."""
    shared_experts: int | None = None
    """Experts in each layer that all tokens use besides; free for 0."""
    balance_weight: float | None = None
    """Weight of the loss that balances the load of the experts; free for 0.01."""
    router_z_weight: float | None = None
    """Weight of the loss that keeps the router's logits small; free for 0.001."""
    n_kv_heads: int | None = None
    """Heads of keys and values, each read by equally many query heads. If free, they follow from
    `kv_share`, or there is one for each query head."""
    kv_share: float | None = None
    """Key-value heads over query heads, 1 over a whole number; free for 1. Set either this or
    `n_kv_heads`."""
    rotary_base: float = 10_000.0
    """Base of the rotary positions: larger ones turn slower."""
    document_masking: bool = False
    """Whether a token attends only to its own document, in training and in evaluation."""
    dropout: float = 0.0
    """Probability by which an entry of the embedded tokens, or of what attention or feed-forward
    adds, is zero in training."""

    def __post_init__(self) -> None:
        _check_whole(self, "target_parameters", "vocab_size", "context")
        _check_whole(self, *PINS, "n_kv_heads", may_be_free=True)
        if self.head_dim is not None:
            _check_head_dim(self.head_dim)
        _check_between(self, "embedding_ratio", 1, example="0.35 for 35 %", closed=False)
        _check_between(self, "glu_expansion", MAX_EXPANSION, example="2.66", closed=True)
        _check_variants(self)
        require_trainable(self)
        if self.budget not in BUDGETS:
            raise ValueError(f"budget is {self.budget!r}; it must be {' or '.join(BUDGETS)}")
        check_experts(self)
        _check_rank(self.embedding, self.embedding_rank, self.d_model)
        if has_rank(self.embedding) and self.embedding_rank is None and not self.embedding_ratio:
            raise ValueError(
                f"embedding_rank and embedding_ratio are both None, but one of them must fix the "
                f"rank of the embedding {self.embedding!r}; set one, for example "
                "embedding_ratio to 0.35 for 35 %"
            )
        self._check_kv_share()
        _check_network(self)
        require_types(self)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> ModelSpec:
        """A spec from plain values. Raises ValueError for an unknown key."""
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise ValueError(
                    f"unknown property {key!r} of a model; expected one of {', '.join(known)}"
                )
        return cls(**values)

    def values(self) -> dict[str, Any]:
        """The spec as plain values, for hashing and for files; None for what is free."""
        return asdict(self)

    @property
    def kv_group(self) -> int:
        """Query heads that read one key-value head, unless `n_kv_heads` is pinned."""
        return 1 if self.kv_share is None else round(1 / self.kv_share)

    @property
    def head_unit(self) -> int:
        """Query heads come in multiples of this."""
        return self.n_kv_heads or self.kv_group

    def kv_heads(self, n_heads: Amount) -> Amount:
        """Key-value heads of so many query heads: an integer or an array of them."""
        if self.n_kv_heads is not None:
            return self.n_kv_heads + 0 * n_heads
        return n_heads // self.kv_group

    def _check_kv_share(self) -> None:
        share = self.kv_share
        if share is not None:
            _check_between(self, "kv_share", 1, example="0.5", closed=True)
            if abs(share * round(1 / share) - 1) > KV_SHARE_TOLERANCE:
                raise ValueError(
                    f"kv_share is {share!r}; it must be 1 over a whole number, such as 0.5, 0.33 "
                    "or 0.25, so that each key-value head is read by equally many query heads"
                )
            if self.n_kv_heads is not None:
                raise ValueError(
                    f"kv_share is {share!r} and n_kv_heads {self.n_kv_heads}; set one of them and "
                    "leave the other free (None)"
                )
        if self.n_heads is not None:
            _check_kv_heads(self.n_heads, self.n_kv_heads, self.kv_group)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A model with every size fixed.

    Raises ValueError for sizes that no model could have.
    """

    vocab_size: int
    context: int
    d_model: int
    n_layers: int
    n_heads: int
    head_dim: int
    d_ff: int
    embedding: str = "tied"
    attention: str = "multi_head"
    feed_forward: str = "swiglu"
    norm: str = "rms_norm"
    embedding_rank: int | None = None
    """None for an embedding without a rank."""
    n_experts: int | None = None
    """None for a feed-forward without experts, as its other settings."""
    top_k: int | None = None
    shared_experts: int | None = None
    balance_weight: float | None = None
    router_z_weight: float | None = None
    n_kv_heads: int | None = None
    """None for one for each query head."""
    rotary_base: float = 10_000.0
    document_masking: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "context", "d_model", "n_layers", "n_heads", "head_dim", "d_ff")
        _check_whole(self, *sizes)
        _check_whole(self, "n_kv_heads", may_be_free=True)
        _check_head_dim(self.head_dim)
        _check_variants(self)
        if has_rank(self.embedding):
            _check_whole(self, "embedding_rank")
        _check_rank(self.embedding, self.embedding_rank, self.d_model)
        _check_kv_heads(self.n_heads, self.n_kv_heads, 1)
        _check_network(self)
        check_experts(self)
        if has_experts(self.feed_forward):
            for name, default in EXPERT_DEFAULTS.items():
                if getattr(self, name) is None:
                    object.__setattr__(self, name, default)
        if self.n_kv_heads == self.n_heads:  # one form for one model
            object.__setattr__(self, "n_kv_heads", None)

    @property
    def d_attention(self) -> int:
        """Width of the queries of all heads together; it may differ from `d_model`."""
        return self.n_heads * self.head_dim

    @property
    def d_kv(self) -> int:
        """Width of the keys of all heads together, and of the values."""
        return (self.n_kv_heads or self.n_heads) * self.head_dim

    @property
    def expansion(self) -> float:
        """Inner width of the feed-forward over the model's width, as solved."""
        return self.d_ff / self.d_model

    def values(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return asdict(self)
