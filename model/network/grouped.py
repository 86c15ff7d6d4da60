"""A matrix product for each group of rows, as one operation.

Rows are sorted by group, and the groups' sizes are data, known only when the step runs. An
operation of its own keeps that from torch.compile, which sees fixed shapes and no break. On a CPU
there is one product for each group. On CUDA the host would have to wait for the sizes: there they
are torch's grouped products, where these have a kernel, and else products of blocks.

Shapes: S rows, N inputs, M outputs, E groups.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from model.network.blocked_groups import blocked_outer, blocked_product

GROUPED_PRODUCTS_OF = (9, 10)
"""Major compute capabilities that torch's grouped product has a kernel for: Hopper and Blackwell's
server cards. On others it reads the sizes on the host (pytorch#161407, pytorch#184334)."""

ALIGNED_BYTES = 16
"""torch's grouped product needs rows that begin at multiples of these."""


def grouped_product(rows_SN: Tensor, weight_EMN: Tensor, counts_E: Tensor) -> Tensor:
    """rows · weightᵀ of each row's group, [S, M], in the precision of autocast if it is on.

    Args:
        rows_SN: sorted by group.
        weight_EMN: a matrix for each group.
        counts_E: how many rows each group has; together S.
    """
    device = rows_SN.device.type
    dtype = rows_SN.dtype
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    product: Tensor = _product(rows_SN.to(dtype), weight_EMN.to(dtype), counts_E)
    return product


@torch.library.custom_op("stellux::grouped_product", mutates_args=())
def _product(rows_SN: Tensor, weight_EMN: Tensor, counts_E: Tensor) -> Tensor:
    if _has_grouped_product(rows_SN):
        offsets_E = counts_E.cumsum(0, dtype=torch.int32)
        padded_EMN = _aligned(_aligned(weight_EMN, dim=2), dim=1)
        product_SM = functional.grouped_mm(
            _aligned(rows_SN, dim=1), padded_EMN.transpose(1, 2), offs=offsets_E
        )
        return product_SM[:, : weight_EMN.shape[1]].contiguous()
    if rows_SN.is_cuda:
        return blocked_product(rows_SN, weight_EMN, counts_E)
    product_SM = rows_SN.new_empty(len(rows_SN), weight_EMN.shape[1])
    for start, end, weight_MN in _groups(counts_E, weight_EMN):
        torch.mm(rows_SN[start:end], weight_MN.T, out=product_SM[start:end])
    return product_SM


@torch.library.custom_op("stellux::grouped_outer", mutates_args=())
def _outer(gradient_SM: Tensor, rows_SN: Tensor, counts_E: Tensor) -> Tensor:
    """Σ over the rows of each group of gradient ⊗ row, [E, M, N]; 0 for a group without rows."""
    outputs, inputs = gradient_SM.shape[1], rows_SN.shape[1]
    if _has_grouped_product(rows_SN):
        offsets_E = counts_E.cumsum(0, dtype=torch.int32)
        outer_EMN = functional.grouped_mm(
            _aligned(gradient_SM, dim=1).T, _aligned(rows_SN, dim=1), offs=offsets_E
        )
        # What the kernel writes for a group without rows is not documented.
        used_E = counts_E > 0
        return outer_EMN[:, :outputs, :inputs].where(used_E[:, None, None], 0)
    if rows_SN.is_cuda:
        return blocked_outer(gradient_SM, rows_SN, counts_E)
    outer_EMN = rows_SN.new_empty(len(counts_E), outputs, inputs)
    for start, end, outer_MN in _groups(counts_E, outer_EMN):
        torch.mm(gradient_SM[start:end].T, rows_SN[start:end], out=outer_MN)
    return outer_EMN


@_product.register_fake
def _(rows_SN: Tensor, weight_EMN: Tensor, counts_E: Tensor) -> Tensor:
    return rows_SN.new_empty(len(rows_SN), weight_EMN.shape[1])


@_outer.register_fake
def _(gradient_SM: Tensor, rows_SN: Tensor, counts_E: Tensor) -> Tensor:
    return rows_SN.new_empty(len(counts_E), gradient_SM.shape[1], rows_SN.shape[1])


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient_SM: Tensor) -> tuple[Tensor, Tensor, None]:
    rows_SN, weight_EMN, counts_E = ctx.saved_tensors
    gradient_SM = gradient_SM.contiguous()
    of_rows_SN = _product(gradient_SM, weight_EMN.transpose(1, 2), counts_E)
    return of_rows_SN, _outer(gradient_SM, rows_SN, counts_E), None


_product.register_autograd(_backward, setup_context=_keep)


def _has_grouped_product(rows_SN: Tensor) -> bool:
    if not (rows_SN.is_cuda and rows_SN.dtype == torch.bfloat16):
        return False
    return torch.cuda.get_device_capability(rows_SN.device)[0] in GROUPED_PRODUCTS_OF


def _aligned(values: Tensor, *, dim: int) -> Tensor:
    """With zeros after the end of a dimension, up to a multiple of ALIGNED_BYTES."""
    missing = -values.shape[dim] % (ALIGNED_BYTES // values.element_size())
    if not missing:
        return values
    return functional.pad(values, (0, 0) * (values.ndim - 1 - dim) + (0, missing))


def _groups(counts_E: Tensor, matrices_EMN: Tensor) -> Any:
    """(first row, row after the last, matrix) of each group."""
    ends = counts_E.cumsum(0).tolist()
    return zip([0, *ends[:-1]], ends, matrices_EMN, strict=True)


class _Permuted(torch.autograd.Function):
    """Rows in another order. Autograd's own backward pass would add up rows, in any order."""

    @staticmethod
    def forward(ctx: Any, rows_SN: Tensor, order_S: Tensor, inverse_S: Tensor) -> Tensor:
        ctx.save_for_backward(order_S, inverse_S)
        return rows_SN[order_S]

    @staticmethod
    def backward(ctx: Any, gradient_SN: Tensor) -> tuple[Tensor, None, None]:
        _, inverse_S = ctx.saved_tensors
        return gradient_SN[inverse_S], None, None


def permuted(rows_SN: Tensor, order_S: Tensor, inverse_S: Tensor) -> Tensor:
    """rows[order], where `inverse` undoes `order`; repeatable bit for bit on every device."""
    rows: Tensor = _Permuted.apply(rows_SN, order_S, inverse_S)  # type: ignore[no-untyped-call]
    return rows
