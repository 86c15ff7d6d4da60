"""The feed-forwards by name."""

from __future__ import annotations

from collections.abc import Mapping

from model.parts.dense import FeedForward, GatedFeedForward
from model.parts.experts import MixtureOfExperts
from model.parts.part import LayerPart
from model.parts.polyglu import PolyGLU, PublishedPolyGLU

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


def has_experts(feed_forward: str) -> bool:
    """Whether a feed-forward of this name has experts."""
    return isinstance(FEED_FORWARDS[feed_forward], MixtureOfExperts)
