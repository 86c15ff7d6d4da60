"""Normalisation of what attention, feed-forward and head read.

A variant is a class, a line in NORMS, and its entry in model/parts/.
"""

from __future__ import annotations

from torch import nn

from model.network.parameters import declare
from model.roles import vector


class RMSNorm(nn.RMSNorm):
    """Division by the root mean square, times a learned gain (Zhang and Sennrich, 2019).

    Args:
        size: entries of a vector.
        in_block: whether it is inside a residual block; its gain's rate depends on it.
    """

    def __init__(self, size: int, *, in_block: bool) -> None:
        super().__init__(size, eps=1e-5)
        declare(self, weight=vector(in_block=in_block, start=1.0))


NORMS: dict[str, type[RMSNorm]] = {
    "rms_norm": RMSNorm,
}
