"""The hidden matrix that every variant is built from.

A `Projection` takes the names of the sizes it reads and writes, not their numbers, because its
learning rate depends on which size it reads, and two sizes of a model may be equal.
"""

from __future__ import annotations

from torch import nn

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
