"""How many parameters a model has, by part."""

from __future__ import annotations

from dataclasses import dataclass

from model.parts.variants import Parts
from model.spec import ModelConfig


@dataclass(frozen=True, kw_only=True)
class ParameterCount:
    """Trainable parameters by part."""

    embedding: int
    lm_head: int
    """0 when tied."""
    attention: int
    feed_forward: int
    norms: int
    active: int
    """Used for one token: fewer than `total` if a router chooses among experts."""

    @property
    def total(self) -> int:
        """Every parameter once."""
        return self.embedding + self.lm_head + self.attention + self.feed_forward + self.norms

    @property
    def embedding_share(self) -> float:
        """Embedding and head over all parameters."""
        return (self.embedding + self.lm_head) / self.total


def count_parameters(config: ModelConfig) -> ParameterCount:
    """A model's parameters by the formulas in `model.parts`, without building it."""
    parts = Parts.of(config)
    lm_head = int(parts.embedding.lm_head(config))
    return ParameterCount(
        embedding=int(parts.embedding.parameters(config)) - lm_head,
        lm_head=lm_head,
        attention=int(parts.attention.parameters(config)),
        feed_forward=int(parts.feed_forward.parameters(config)),
        norms=int(parts.norm.parameters(config)),
        active=sum(int(part.active_parameters(config)) for part in parts),
    )
