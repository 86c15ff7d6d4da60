"""Layers that every variant is built from.

A `Projection` names the sizes it reads and writes rather than counting them, because the transfer
of the learning rate depends on which size a matrix reads, and two sizes of a model may be equal.
"""

from __future__ import annotations

from torch import nn

from model.spec import ModelConfig

SIZES = ("d_model", "d_attention", "d_ff")
"""The sizes of a ModelConfig that a hidden matrix may read or write."""


class Projection(nn.Linear):
    """A hidden matrix without bias from one size of the model to another.

    Args:
        config: the model's sizes.
        reads: the name of the size of the inputs, one of SIZES.
        writes: the name of the size of the outputs, one of SIZES.
    """

    def __init__(self, config: ModelConfig, *, reads: str, writes: str) -> None:
        assert reads in SIZES and writes in SIZES, f"sizes are {SIZES}, not {reads}, {writes}"
        self.reads = reads
        super().__init__(getattr(config, reads), getattr(config, writes), bias=False)


class RMSNorm(nn.RMSNorm):
    """Division by the root mean square, times a learned gain (Zhang and Sennrich, 2019)."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, eps=1e-5)
