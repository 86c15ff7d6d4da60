"""PolyGLU, whose neurons choose among activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from model.parts.dense import GatedFeedForward
from model.parts.part import Amount, Reported, Row, Sizes

ROUTED_ACTIVATIONS = 4
"""Activations that each neuron of PolyGLU chooses from."""
ROUTER_WIDTH = 32
"""Inner width of PolyGLU's gate."""


class PolyGLU(GatedFeedForward):
    """SwiGLU's matrices, and per layer the routing (Medeiros, 2026, "PolyGLU", arXiv 2603.13347).

    The routing: a preference of each neuron for each of 4 activations, 4 strengths, and a gate of
    d_model → 32 → 4 with biases.
    """

    follows_progress = True
    """Its temperature falls over the training."""
    reports: Mapping[str, Reported] = {
        "routing_entropy": Reported(title="entropy of PolyGLU's routing", unit="nats"),
        "routing_entropy_of_layer/*": Reported(
            title="entropy of PolyGLU's routing in a layer", unit="nats", drawn=False
        ),
    }

    def matrices(self, sizes: Sizes) -> Amount:
        router = ROUTER_WIDTH * (sizes.d_model + ROUTED_ACTIVATIONS)
        return super().matrices(sizes) + router

    def vectors(self, sizes: Sizes) -> Amount:
        biases = ROUTER_WIDTH + ROUTED_ACTIVATIONS
        return ROUTED_ACTIVATIONS * (sizes.d_ff + 1) + biases

    def routing(self, sizes: Sizes) -> Amount:
        """What it has besides SwiGLU's matrices, in all layers."""
        return self.parameters(sizes) - sizes.n_layers * super().matrices(sizes)

    def kept(self, sizes: Sizes) -> Amount:
        """The input, `gate`, `up`, the mixed product, and the gate's hidden vector, twice."""
        return sizes.d_model + 3 * sizes.d_ff + 2 * ROUTER_WIDTH

    def rows(self, sizes: Sizes) -> tuple[Row, ...]:
        (whole,) = super().rows(sizes)
        routing = int(self.routing(sizes))
        shape = (
            f"{sizes.n_layers} layers, {sizes.d_ff} × {ROUTED_ACTIVATIONS} and "
            f"{sizes.d_model} → {ROUTER_WIDTH} → {ROUTED_ACTIVATIONS}"
        )
        return (
            replace(whole, parameters=whole.parameters - routing),
            Row(part="routing", shape=shape, parameters=routing),
        )


class PublishedPolyGLU(PolyGLU):
    """As published: the gate reads the mean over the whole sequence."""

    not_for_training = (
        "its gate reads the mean over the whole sequence, so that each position sees the tokens "
        "that it is to predict; take polyglu, whose mean ends at the position"
    )
