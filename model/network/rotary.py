"""Rotary positions (Su et al., 2021): queries and keys turned by an angle for each position.

Entries i and i + K/2 of a vector are the coordinates of a point in a plane, which is turned.

Shapes: B sequences, T tokens, H query heads, G key-value heads, K entries of a head's vector.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_table(length: int, head_dim: int, *, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines [T, K] (eq. 15); the sines of the first K/2 entries are negative."""
    frequency_P = base ** (-torch.arange(0, head_dim, 2) / head_dim)
    angle_TP = torch.arange(length)[:, None] * frequency_P
    cos_TP, sin_TP = angle_TP.cos(), angle_TP.sin()
    return torch.cat((cos_TP, cos_TP), dim=-1), torch.cat((-sin_TP, sin_TP), dim=-1)


def rotated(
    query_BHTK: Tensor, key_BGTK: Tensor, cos_TK: Tensor, sin_TK: Tensor
) -> tuple[Tensor, Tensor]:
    """Queries and keys at these positions; on CUDA turned together, by half as many kernels."""
    if not query_BHTK.is_cuda:
        return rotate(query_BHTK, cos_TK, sin_TK), rotate(key_BGTK, cos_TK, sin_TK)
    together = rotate_whole(torch.cat((query_BHTK, key_BGTK), dim=1), cos_TK, sin_TK)
    heads = [query_BHTK.shape[1], key_BGTK.shape[1]]
    # Not two slices, whose backward pass is of more kernels.
    query_BHTK, key_BGTK = torch.split(together, heads, dim=1)
    return query_BHTK, key_BGTK


def rotate(vectors_BHTK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """Vectors at these positions, each half by itself: what compiled code on a CPU does fastest."""
    first, second = vectors_BHTK.chunk(2, dim=-1)
    half = vectors_BHTK.shape[-1] // 2
    cos_TP, sin_TP = cos_TK[:, half:], sin_TK[:, half:]
    turned = (first * cos_TP - second * sin_TP, second * cos_TP + first * sin_TP)
    return torch.cat(turned, dim=-1).type_as(vectors_BHTK)


def rotate_whole(vectors_BHTK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """The same, bit for bit, by the fewest kernels."""
    first, second = vectors_BHTK.chunk(2, dim=-1)
    swapped_BHTK = torch.cat((second, first), dim=-1)
    return (vectors_BHTK * cos_TK + swapped_BHTK * sin_TK).type_as(vectors_BHTK)
