"""The precision of the products of an evaluation: fp32, or TF32 where a GPU has it.

Weights, sums and everything between two products are in fp32 either way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from model.precisions import FP32, TF32

_TORCH_CALLS_IT = {FP32: "ieee", TF32: "tf32"}


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Inside the block a CUDA device multiplies matrices of fp32 in this precision, whatever torch
    was told before; afterwards that holds again. Other devices multiply as they did."""
    # Not torch.set_float32_matmul_precision, which also changes products on CPUs.
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = _TORCH_CALLS_IT[precision]
    try:
        yield
    finally:
        matmul.fp32_precision = before
