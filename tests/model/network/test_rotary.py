"""Rotary positions against the paper, and the ways to turn vectors against each other."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from model.network.rotary import rotary_table, rotate, rotate_whole, rotated

Rotation = Callable[[Tensor, Tensor, Tensor], Tensor]


@pytest.mark.parametrize("rotation", [rotate, rotate_whole])
@pytest.mark.parametrize("base", [10_000.0, 500.0])
def test_rotation_is_the_papers_multiplication_of_complex_numbers(
    rotation: Rotation, base: float
) -> None:
    vectors_TK = torch.randn(16, 10, generator=torch.Generator().manual_seed(0))
    ours_TK = rotation(vectors_TK[None, None], *rotary_table(16, 10, base=base))[0, 0]
    # Su et al., 2021, eq. 12: f(x, m) = x · e^(i m θ), on pairs as complex numbers.
    for position in range(16):
        for plane in range(5):
            angle = position * base ** (-2 * plane / 10)
            before = complex(vectors_TK[position, plane], vectors_TK[position, plane + 5])
            after = before * complex(math.cos(angle), math.sin(angle))
            now = complex(ours_TK[position, plane], ours_TK[position, plane + 5])
            assert abs(after - now) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_both_ways_have_the_same_bits_and_gradients(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    table = rotary_table(16, 10)
    vectors_BTHK = torch.randn(3, 16, 4, 10, generator=generator).to(dtype).requires_grad_()
    upstream_BHTK = torch.randn(3, 4, 16, 10, generator=generator).to(dtype)
    found = []
    for rotation in (rotate, rotate_whole):
        made_BHTK = rotation(vectors_BTHK.transpose(1, 2), *table)
        assert made_BHTK.dtype == dtype
        found.append((made_BHTK, *torch.autograd.grad(made_BHTK, [vectors_BTHK], upstream_BHTK)))
    for halves, whole in zip(*found, strict=True):
        assert torch.equal(halves, whole)


def test_queries_and_fewer_keys_are_turned_by_their_positions() -> None:
    generator = torch.Generator().manual_seed(0)
    table = rotary_table(16, 10)
    query_BHTK, key_BGTK = (torch.randn(2, n, 16, 10, generator=generator) for n in (4, 2))
    turned = rotated(query_BHTK, key_BGTK, *table)
    assert torch.equal(turned[0], rotate(query_BHTK, *table))
    assert torch.equal(turned[1], rotate(key_BGTK, *table))
