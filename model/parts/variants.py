"""The variants of each part by name, and the parts of one model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from model.parts.attentions import ATTENTIONS
from model.parts.embeddings import EMBEDDINGS, Embedding
from model.parts.feed_forwards import FEED_FORWARDS
from model.parts.norms import NORMS
from model.parts.part import LayerPart, Part

VARIANTS: Mapping[str, Mapping[str, Part]] = {
    "embedding": EMBEDDINGS,
    "attention": ATTENTIONS,
    "feed_forward": FEED_FORWARDS,
    "norm": NORMS,
}
"""The variants of each part by name. The part's name is also the field of ModelSpec and ModelConfig
that picks one."""


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
