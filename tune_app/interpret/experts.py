"""How a text's tokens spread over the experts of a mixture, by layer.

Shapes: B sequences, T tokens, S = B·T, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from model.network.moe import MixtureOfExperts
from model.network.transformer import Transformer


@dataclass(frozen=True, kw_only=True)
class ExpertLoad:
    """What the router of one layer does with a text."""

    loads: tuple[float, ...]
    """Of each expert: its choices over an equal share; 1 everywhere if all are used alike."""
    entropy: float
    """Mean over tokens of the entropy of the router's probabilities, in nats."""


@torch.no_grad()
def expert_loads(model: Transformer, tokens_BT: Tensor) -> Mapping[int, ExpertLoad]:
    """By layer, over all positions of sequences of tokens; empty without experts."""
    mixtures = {
        layer: block.feed_forward
        for layer, block in enumerate(model.blocks)
        if isinstance(block.feed_forward, MixtureOfExperts)
    }
    logits: dict[int, Tensor] = {}
    hooks = [
        part.router.register_forward_hook(
            lambda _, inputs, made, layer=layer: logits.update({layer: made})
        )
        for layer, part in mixtures.items()
    ]
    try:
        if mixtures:
            model.hidden_states(tokens_BT)
    finally:
        for hook in hooks:
            hook.remove()
    return {layer: _load(logits[layer], part.top_k) for layer, part in mixtures.items()}


def _load(logits_SE: Tensor, top_k: int) -> ExpertLoad:
    experts = logits_SE.shape[-1]
    probability_SE = logits_SE.double().softmax(-1)
    chosen = logits_SE.topk(top_k).indices.flatten()
    share_E = torch.bincount(chosen, minlength=experts) / len(chosen)
    return ExpertLoad(
        loads=tuple((experts * share_E).tolist()),
        entropy=torch.special.entr(probability_SE).sum(-1).mean().item(),
    )
