"""The hidden matrix that every variant is built from.

A `Projection` names the sizes it reads and writes rather than counting them, because the transfer
of the learning rate depends on which size a matrix reads, and two sizes of a model may be equal.
"""

from __future__ import annotations

from torch import nn

from model.network.parameters import declare
from model.roles import SIZES, hidden_matrix
from model.spec import ModelConfig


class Projection(nn.Linear):
    """A hidden matrix of a block, without bias, from one size of the model to another.

    Args:
        config: the model's sizes.
        reads: the name of the size of the inputs, one of SIZES.
        writes: the name of the size of the outputs, one of SIZES.
    """

    def __init__(self, config: ModelConfig, *, reads: str, writes: str) -> None:
        assert reads in SIZES and writes in SIZES, f"sizes are {SIZES}, not {reads}, {writes}"
        # nn.Linear draws weights here that `initialise` draws anew. Its draws stay, because without
        # them every seed would give another model than it gave before.
        super().__init__(getattr(config, reads), getattr(config, writes), bias=False)
        declare(self, weight=hidden_matrix(reads=reads, fan_in=self.in_features))
