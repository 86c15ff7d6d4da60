"""Dropout (Srivastava et al., 2014), where GPT-2 has it (Radford et al., 2019).

That is on the embedded tokens, and on what each attention and each feed-forward adds to the
residual stream; but not on the weights of attention, which fused kernels never hold.

What is dropped follows from the step, the sequence, the layer and the place
(model.network.random_keys), so a resumed run drops what it would have dropped, with micro-batches
of any size.

Shapes: B sequences, T tokens, D width.
"""

from __future__ import annotations

from torch import Tensor

from model.network.context import Context

EMBEDDED, ATTENTION, FEED_FORWARD = 13, 14, 15
"""The draws of a layer (`Context.uniform`) that are for dropout."""


def dropped(hidden_BTD: Tensor, probability: float, context: Context, *, use: int) -> Tensor:
    """With each entry 0 by `probability`, and the others divided by what is left of 1.

    Outside of training, and if the probability is 0, unchanged.
    """
    if not probability:
        return hidden_BTD
    length, width = hidden_BTD.shape[1:]
    draws_BN = context.uniform(length * width, use=use)
    if draws_BN is None:
        return hidden_BTD
    kept_BTD = draws_BN.view(hidden_BTD.shape) >= probability
    return hidden_BTD * (kept_BTD / (1 - probability)).type_as(hidden_BTD)
