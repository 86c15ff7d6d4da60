"""A text continued from a cache has the logits of the whole text, for every variant."""

from __future__ import annotations

import pytest
import torch

from model.mup import Scales
from model.network.cache import Cache, needs_whole_text
from model.network.transformer import Transformer
from model.parts.variants import VARIANTS
from model.sizing.budget import solve
from model.spec import ModelSpec
from tests.model.variants import further_sizes

CHOICES = [
    (part, kind)
    for part, kinds in VARIANTS.items()
    for kind, variant in kinds.items()
    if not variant.not_for_training
]


def small(**variant: str) -> Transformer:
    spec = ModelSpec(
        **further_sizes(variant),
        target_parameters=60_000,
        vocab_size=512,
        embedding_ratio=None,
        n_heads=4,
        context=32,
        **variant,  # type: ignore[arg-type]
    )
    config = solve(spec)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Transformer(config, scales=Scales.own(config)).eval()


@pytest.mark.parametrize(("part", "kind"), CHOICES)
def test_the_cached_logits_are_those_of_the_whole_text(part: str, kind: str) -> None:
    model = small(**{part: kind})
    tokens_BT = torch.arange(2 * 20).view(2, 20) * 7 % 512
    cache = Cache(capacity=model.config.context)
    with torch.inference_mode():
        whole_BTV = model(tokens_BT)
        # A prompt, a piece, then single tokens.
        pieces = torch.split(tokens_BT, [9, 4, 1, 1, 1, 4], dim=1)
        cached_BTV = torch.cat([model(piece, cache=cache) for piece in pieces], dim=1)
    equal = torch.allclose(cached_BTV, whole_BTV, atol=1e-5)
    reason = needs_whole_text(model)
    assert equal or reason, (
        f"{part}={kind} depends on other positions; extend the cache, or say why it cannot: see "
        "model/network/cache.py"
    )


def test_a_text_longer_than_the_context_is_refused() -> None:
    model = small()
    cache = Cache(capacity=32)
    with torch.inference_mode():
        model(torch.zeros(1, 30, dtype=torch.long), cache=cache)
        with pytest.raises(ValueError, match="30 tokens in the cache and 3 new ones"):
            model(torch.zeros(1, 3, dtype=torch.long), cache=cache)
