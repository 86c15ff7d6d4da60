"""A matrix product for each group of rows, where no kernel takes the groups' sizes from the device.

The rows of each group are spread over blocks of one size, the last of a group filled up with zeros.
How many blocks that can be at most follows from the shapes alone, so nothing is read from the
device; each block then has the matrix of its group, and one batched product has them all. Every sum
has a fixed order.

Shapes: S rows, N inputs, M outputs, E groups, C blocks of B rows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LEAST_ROWS = 16
BLOCKS_OF_A_GROUP = 4
"""Of a group of mean size: more blocks compute with fewer zeros, and gather more matrices."""


class Blocks(NamedTuple):
    """Where the rows of sorted groups are among the blocks."""

    group_C: Tensor
    """The group of each block."""
    row_CB: Tensor
    """The row of each place in a block."""
    filled_CB1: Tensor
    """Whether there is one."""
    place_S: Tensor
    """The place of each row among those of all blocks."""


def blocks_of(counts_E: Tensor, rows: int) -> Blocks:
    """The blocks of `rows` rows, sorted by group, of which each group has so many."""
    groups = len(counts_E)
    wished = -(-rows // (BLOCKS_OF_A_GROUP * groups))
    size = max(LEAST_ROWS, -(-wished // LEAST_ROWS) * LEAST_ROWS)
    most = rows // size + groups
    numbers = torch.arange(max(rows, most, size), device=counts_E.device)
    blocks_C, rows_S, places_B = numbers[:most], numbers[:rows], numbers[:size]
    row_ends_E = counts_E.cumsum(0)
    block_ends_E = ((counts_E + size - 1) // size).cumsum(0)
    block_starts_E = block_ends_E - (counts_E + size - 1) // size
    # Blocks after the last one are taken for empty ones of the last group.
    group_C = (blocks_C[:, None] >= block_ends_E).sum(1).clamp(max=groups - 1)
    within_CB = ((blocks_C - block_starts_E[group_C]) * size)[:, None] + places_B
    row_CB = (row_ends_E - counts_E)[group_C][:, None] + within_CB
    group_S = (rows_S[:, None] >= row_ends_E).sum(1)
    within_S = rows_S - (row_ends_E - counts_E)[group_S]
    return Blocks(
        group_C=group_C,
        row_CB=row_CB.clamp(max=rows - 1),
        filled_CB1=(within_CB < counts_E[group_C][:, None])[..., None],
        place_S=block_starts_E[group_S] * size + within_S,
    )


def blocked_product(rows_SN: Tensor, weight_EMN: Tensor, counts_E: Tensor) -> Tensor:
    """rows · weightᵀ of each row's group, [S, M]."""
    blocks = blocks_of(counts_E, len(rows_SN))
    product_CBM = rows_SN[blocks.row_CB] @ weight_EMN[blocks.group_C].mT
    return product_CBM.flatten(0, 1)[blocks.place_S]


def blocked_outer(gradient_SM: Tensor, rows_SN: Tensor, counts_E: Tensor) -> Tensor:
    """Σ over the rows of each group of gradient ⊗ row, [E, M, N]; 0 for a group without rows."""
    blocks = blocks_of(counts_E, len(rows_SN))
    gradient_CBM = gradient_SM[blocks.row_CB].where(blocks.filled_CB1, 0)
    outer_CMN = gradient_CBM.mT @ rows_SN[blocks.row_CB]
    groups_E1 = torch.arange(len(counts_E), device=counts_E.device)[:, None]
    member_EC = (blocks.group_C == groups_E1).float()
    sums_EP = member_EC @ outer_CMN.flatten(1).float()
    return sums_EP.view(len(counts_E), *outer_CMN.shape[1:]).to(rows_SN.dtype)
