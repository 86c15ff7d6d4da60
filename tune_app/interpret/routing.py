"""What PolyGLU's neurons route to, by layer: by their preferences alone, and on a text.

Shapes: B sequences, T tokens, F neurons, K activations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.network.mixed_activations import ACTIVATIONS
from model.network.polyglu import PolyGLU, PublishedPolyGLU, temperature
from model.network.transformer import Transformer

NAMES = tuple(name for name, _ in ACTIVATIONS)
GREATEST_ENTROPY = math.log(len(NAMES))
"""In nats: all activations alike."""

_AT_ONCE = 1 << 22
"""Weights that are computed at once."""


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """How neurons spread over the activations."""

    weights: tuple[float, ...]
    """The mean weight of each activation, in the order of NAMES."""
    favourites: tuple[float, ...]
    """Share of the neurons whose greatest weight is this activation's."""
    entropy: float
    """Mean over neurons of the entropy of their weights, in nats."""


def by_preference(alpha_FK: Tensor, *, tau: float) -> Mixture:
    """By α alone, as if the gate said nothing. Neurons that prefer none count for all alike."""
    return _mixture(alpha_FK.double() / tau)


@torch.no_grad()
def on_text(model: Transformer, tokens_BT: Tensor) -> Mapping[int, Mixture]:
    """By layer, over all positions of sequences of tokens, without noise."""
    routed = {
        layer: block.feed_forward
        for layer, block in enumerate(model.blocks)
        if isinstance(block.feed_forward, (PolyGLU, PublishedPolyGLU))
    }
    states: dict[int, Tensor] = {}
    hooks = [
        part.register_forward_pre_hook(
            lambda part, inputs, layer=layer: states.update({layer: part.states(inputs[0])})
        )
        for layer, part in routed.items()
    ]
    try:
        model.hidden_states(tokens_BT)
    finally:
        for hook in hooks:
            hook.remove()
    tau = float(temperature(model.progress))
    found = {}
    for layer, part in routed.items():
        pieces = _pieces(states[layer].flatten(0, 1), len(part.alpha_FK))
        mixtures = [_mixture((part.alpha_FK + piece[:, None]).double() / tau) for piece in pieces]
        found[layer] = _mean(mixtures, sizes=[len(piece) for piece in pieces])
    return found


def _pieces(states_NK: Tensor, neurons: int) -> Sequence[Tensor]:
    rows = max(1, _AT_ONCE // (neurons * len(NAMES)))
    return torch.split(states_NK, rows)


def _mixture(logits: Tensor) -> Mixture:
    """Of logits [..., K], each row a neuron at a position."""
    logits_NK = logits.flatten(0, -2)
    log_NK = logits_NK.log_softmax(-1)
    weights_NK = log_NK.exp()
    greatest_NK = logits_NK == logits_NK.amax(-1, keepdim=True)
    favourites_NK = greatest_NK / greatest_NK.sum(-1, keepdim=True)
    # Where a weight is 0 its logarithm is -inf, and 0 · -inf would be NaN.
    entropy_N = torch.special.entr(weights_NK).sum(-1)
    return Mixture(
        weights=tuple(weights_NK.mean(0).tolist()),
        favourites=tuple(favourites_NK.mean(0).tolist()),
        entropy=entropy_N.mean().item(),
    )


def _mean(mixtures: Sequence[Mixture], *, sizes: Sequence[int]) -> Mixture:
    whole = sum(sizes)

    def mean(values: Sequence[float]) -> float:
        return sum(size * value for size, value in zip(sizes, values, strict=True)) / whole

    return Mixture(
        weights=tuple(map(mean, zip(*(one.weights for one in mixtures), strict=True))),
        favourites=tuple(map(mean, zip(*(one.favourites for one in mixtures), strict=True))),
        entropy=mean([one.entropy for one in mixtures]),
    )
