"""The products that a benchmark emulates are those of bf16 and TF32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.evaluation_precision import RoundedProducts, cut_to_tf32, to_tf32

STEP = 2.0**-10
"""From 1 to the next number of TF32."""


def test_factors_are_rounded_to_the_nearest_or_cut_off() -> None:
    values = torch.tensor([1.0, 1 + STEP / 2, 1 + 3 * STEP / 2, 1 + 0.6 * STEP, -1 - 0.6 * STEP])
    assert to_tf32(values).tolist() == [1.0, 1.0, 1 + 2 * STEP, 1 + STEP, -1 - STEP]
    assert cut_to_tf32(values).tolist() == [1.0, 1.0, 1 + STEP, 1.0, -1.0]
    many = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    assert ((to_tf32(many) - many) / many).abs().max() <= STEP / 2


@pytest.mark.parametrize("autograd", [False, True])
def test_factors_are_rounded_and_what_is_added_is_not(autograd: bool) -> None:
    near = 1 + 0.4 * STEP
    factor, one, added = torch.full((2, 1), near), torch.ones(1, 1), torch.full((1,), near)
    with torch.inference_mode(mode=not autograd), RoundedProducts(to_tf32) as products:
        found: list[Tensor] = [
            factor @ one,
            functional.linear(factor, one, added) - added,
            factor[None] @ one[None],
        ]
    for product in found:
        assert product.flatten().tolist() == pytest.approx([1.0, 1.0], abs=STEP / 1000)
    assert products.products == 3


def test_products_of_bf16_are_added_up_in_fp32() -> None:
    ones = torch.ones(1, 512, dtype=torch.bfloat16)
    with RoundedProducts():
        product = ones @ ones.mT + 0
    assert product.dtype == torch.bfloat16 and product.item() == 512
