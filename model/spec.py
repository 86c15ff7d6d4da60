"""What model is asked for (ModelSpec) and what the parameter budget made of it (ModelConfig).

A spec names a budget and two ratios; it has no sizes. A config has every size and no wishes.
`model.sizing.budget.solve` turns the one into the other.

The tables name the variants and hold how many weight matrices each has, which is all that the
budget must know of them. A new variant is one line here and one class in the module of its part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from model.field_types import require_types

MAX_EXPANSION = 64.0

EMBEDDING_MATRICES = {"tied": 1, "untied": 2}
"""Matrices of vocabulary × width: the embedding and, where it is not the same one, the head."""
ATTENTION_MATRICES = {"multi_head": 4}
"""Matrices of width × attention width: queries, keys, values, output."""
FEED_FORWARD_MATRICES = {"swiglu": 3, "geglu": 3, "reglu": 3, "relu_squared": 2}
"""Matrices of width × inner width: gated variants have 3 (gate, up, down), others 2."""

_VARIANTS = {
    "embedding": EMBEDDING_MATRICES,
    "attention": ATTENTION_MATRICES,
    "feed_forward": FEED_FORWARD_MATRICES,
}


def _check_whole(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")


def _check_variants(owner: object) -> None:
    for name, known in _VARIANTS.items():
        value = getattr(owner, name)
        if value not in list(known):
            raise ValueError(f"{name} is {value!r}; known: {', '.join(known)}")


def _check_between(owner: object, name: str, high: float, *, example: str, closed: bool) -> None:
    value = getattr(owner, name)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (0 < value < high or (closed and value == high)):
        raise ValueError(
            f"{name} is {value!r}; it must be a number between 0 and {high:g}, "
            f"for example {example}"
        )


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model as a cell of a sweep asks for it.

    Raises ValueError for values that no model could have.
    """

    target_parameters: int = 10_000_000
    """Trainable parameters in total; the solver stays within ± 0.5 %."""
    vocab_size: int = 16_000
    """Tokens, the special ones included."""
    embedding_ratio: float = 0.35
    """Embedding parameters over all parameters (V·d when tied, 2·V·d when untied), ± 0.01."""
    glu_expansion: float = 2.66
    """Inner width of the feed-forward over the model's width, ± 2 %."""
    embedding: str = "tied"
    """`tied` (the head is the embedding, transposed) or `untied`: a key of EMBEDDING_MATRICES."""
    attention: str = "multi_head"
    """A key of ATTENTION_MATRICES."""
    feed_forward: str = "swiglu"
    """A key of FEED_FORWARD_MATRICES."""
    n_heads: int = 4
    """Attention heads; the solver chooses their size."""
    context: int = 256
    """Tokens a sequence."""

    def __post_init__(self) -> None:
        _check_whole(self, "target_parameters", "vocab_size", "n_heads", "context")
        _check_between(self, "embedding_ratio", 1, example="0.35 for 35 %", closed=False)
        _check_between(self, "glu_expansion", MAX_EXPANSION, example="2.66", closed=True)
        _check_variants(self)
        require_types(self)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> ModelSpec:
        """A spec from plain values. Raises ValueError naming a key that no spec has."""
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise ValueError(f"{key!r} is no property of a model; known: {', '.join(known)}")
        return cls(**values)

    def values(self) -> dict[str, Any]:
        """The spec as plain values, for hashing and for files."""
        return asdict(self)


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

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "context", "d_model", "n_layers", "n_heads", "head_dim", "d_ff")
        _check_whole(self, *sizes)
        if self.head_dim % 2:
            raise ValueError(
                f"head_size is {self.head_dim}; it must be even, because rotary positions turn "
                f"pairs: try {self.head_dim + 1}"
            )
        _check_variants(self)

    @property
    def d_attention(self) -> int:
        """Width of queries, keys and values together; it may differ from `d_model`."""
        return self.n_heads * self.head_dim

    @property
    def expansion(self) -> float:
        """Inner width of the feed-forward over the model's width, as solved."""
        return self.d_ff / self.d_model

    def values(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return asdict(self)
