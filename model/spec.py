"""What model is asked for (ModelSpec) and what the parameter budget made of it (ModelConfig).

A spec names a budget and two ratios; it has no sizes. A config has every size and no wishes.
`model.parameter_budget.solve` turns the one into the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model as a cell of a sweep asks for it.

    Raises ValueError for values that no model could have.
    """

    target_parameters: int = 10_000_000
    """Trainable parameters in total; the solver stays within ± 0.5 %."""
    vocabulary: int = 16_000
    """Tokens, the special ones included."""
    embedding_ratio: float = 0.35
    """Embedding parameters over all parameters (V·d when tied, 2·V·d when untied), ± 0.01."""
    glu_expansion: float = 2.66
    """Inner width of the feed-forward over the model's width, ± 2 %."""
    output_head: str = "tied"
    """`tied` (the head is the embedding, transposed) or `untied`: a key of model.embeddings."""
    attention: str = "multi_head"
    """A key of model.attention.ATTENTIONS."""
    feed_forward: str = "swiglu"
    """A key of model.feed_forward.FEED_FORWARDS."""
    heads: int = 4
    """Attention heads; the solver chooses their size."""
    context: int = 256
    """Tokens a sequence."""

    def __post_init__(self) -> None:
        for name in ("target_parameters", "vocabulary", "heads", "context"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
        if not 0 < self.embedding_ratio < 1:
            raise ValueError(
                f"embedding_ratio is {self.embedding_ratio!r}; it must lie between 0 and 1, "
                "for example 0.35 for 35 %"
            )
        if not 0 < self.glu_expansion <= 64:
            raise ValueError(
                f"glu_expansion is {self.glu_expansion!r}; it must lie between 0 and 64, "
                "for example 2.66"
            )

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
    """A model with every size fixed."""

    vocabulary: int
    context: int
    width: int
    depth: int
    heads: int
    head_size: int
    inner_width: int
    output_head: str = "tied"
    attention: str = "multi_head"
    feed_forward: str = "swiglu"

    @property
    def attention_width(self) -> int:
        """Width of queries, keys and values together; it may differ from `width`."""
        return self.heads * self.head_size

    @property
    def expansion(self) -> float:
        """Inner width of the feed-forward over the model's width, as solved."""
        return self.inner_width / self.width

    def values(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return asdict(self)
