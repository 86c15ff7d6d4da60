"""Gradient checkpointing: activations computed again for the backward pass instead of kept.

Chen et al., 2016, "Training Deep Nets with Sublinear Memory Cost". Numbers that a block draws
follow from the step, the sequence and the layer (model.network.random_keys), so the second
computation is the first one again, bit for bit.

Shapes: B sequences, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from model.network.context import Context

_Reports = tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]]


def recomputed(
    block: Callable[[Tensor, Context], Tensor], hidden_BTD: Tensor, context: Context
) -> Tensor:
    """`block(hidden_BTD, context)`, of which only the input is kept for the backward pass.

    What the block reports is reported once, although it runs twice.
    """

    def run(hidden_BTD: Tensor) -> tuple[Tensor, _Reports]:
        apart = context.apart()
        return block(hidden_BTD, apart), apart.reports

    # No part draws from torch's global generator, so its state need not be kept.
    after_BTD, reports = checkpoint(run, hidden_BTD, use_reentrant=False, preserve_rng_state=False)
    context.add_all(*reports)
    result: Tensor = after_BTD
    return result
