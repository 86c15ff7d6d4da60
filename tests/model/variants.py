"""Every variant of every part in a small model, for tests of what all of them must do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from model.parts.embeddings import has_rank
from model.parts.feed_forwards import has_experts
from model.parts.variants import VARIANTS
from model.spec import ModelConfig


def further_sizes(names: Mapping[str, str]) -> dict[str, Any]:
    """The sizes that these variants have besides those of every model."""
    further: dict[str, Any] = {}
    if has_rank(names.get("embedding", "tied")):
        further["embedding_rank"] = 5
    if has_experts(names.get("feed_forward", "swiglu")):
        further |= {"n_experts": 4, "top_k": 2, "shared_experts": 1}
    return further


def with_variants(config: ModelConfig, names: Mapping[str, str]) -> ModelConfig:
    """The configuration with these variants by part, and with their further sizes."""
    return replace(config, **names, **further_sizes(names))  # type: ignore[arg-type]


EVERY: list[dict[str, str]] = [
    {part: name}
    for part, variants in VARIANTS.items()
    for name, variant in variants.items()
    if not variant.not_for_training
]
"""Each variant that trains a language model, once, with the other parts at their defaults."""
