"""The hidden matrix that every variant is built from.

A `Projection` takes the names of the sizes it reads and writes, not their numbers, because its
learning rate depends on which size it reads, and two sizes of a model may be equal.

Shapes: B sequences, T tokens, D inputs, O outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network.parameters import declare
from model.roles import hidden_matrix
from model.spec import ModelConfig


class Projection(nn.Linear):
    """A hidden matrix of a block, without bias, from one size of the model to another.

    Args:
        config: the model's sizes.
        reads: the name of the size of the inputs, one of SIZES.
        writes: the name of the size of the outputs, one of SIZES, or a number.
        inputs: the number of inputs, if not all of `reads`: an expert that reads a part of the
            inner width names `d_ff`, the size that this corresponds to in the baseline.
        decides: whether its outputs choose among parts of the network, so that its products are
            never rounded to less than the caller asks for.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        reads: str,
        writes: str | int,
        inputs: int | None = None,
        decides: bool = False,
    ) -> None:
        fan_in = getattr(config, reads) if inputs is None else inputs
        outputs = getattr(config, writes) if isinstance(writes, str) else writes
        # nn.Linear draws weights here, and `initialise` draws them again. The first draws stay:
        # without them every seed would give another model than before.
        super().__init__(fan_in, outputs, bias=False)
        self.decides = decides
        declare(self, weight=hidden_matrix(reads=reads, fan_in=fan_in))


def projected(hidden_BTD: Tensor, *layers: nn.Module) -> tuple[Tensor, ...]:
    """What each layer makes of the same inputs, [B, T, O] each.

    On CUDA by one product, as products of this size take longer to start than to compute; on a CPU
    one by one. So are layers that are no plain `Projection`, such as those in FP8.
    """
    plain = [layer for layer in layers if type(layer) is Projection]
    if hidden_BTD.is_cuda and len(plain) == len(layers):
        return in_one_product(hidden_BTD, *plain)
    return tuple(layer(hidden_BTD) for layer in layers)


def in_one_product(hidden_BTD: Tensor, *layers: Projection) -> tuple[Tensor, ...]:
    """As `projected`, with the weights of all layers below each other."""
    weights = [layer.weight for layer in layers]
    made_BTO = functional.linear(hidden_BTD, torch.cat(weights))
    return torch.split(made_BTO, [len(weight) for weight in weights], dim=-1)
