"""The mean over the positions so far, as matrix products.

torch's cumsum of floating-point numbers has no deterministic kernel on CUDA. A product with a
triangular matrix has one, and costs T multiply-adds for each entry. In blocks of BLOCK positions it
costs BLOCK + T / BLOCK: within a block a triangular product, and what the blocks before it add up
to from a second one over the blocks.

Shapes: B sequences, T positions, C channels, N blocks of S positions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 64


def running_mean(values_BTC: Tensor, documents_BT: Tensor | None = None) -> Tensor:
    """The mean of each position and those before it, [B, T, C], in fp32 (fp64 for fp64).

    Args:
        values_BTC: what is averaged.
        documents_BT: the document of each position, as any numbers that differ between neighbours;
            the mean starts anew with each. None for one document a sequence. Nothing of another
            document enters a mean, not even as a rounding error.
    """
    with torch.autocast(values_BTC.device.type, enabled=False):
        values_BTC = values_BTC.to(torch.promote_types(values_BTC.dtype, torch.float32))
        if documents_BT is None:
            length = values_BTC.shape[1]
            counts_T1 = torch.arange(1, length + 1, device=values_BTC.device)[:, None]
            return _sums(values_BTC) / counts_T1
        return _means_by_document(values_BTC, documents_BT)


def _sums(values_BTC: Tensor) -> Tensor:
    batch, length, channels = values_BTC.shape
    size = min(BLOCK, length)
    blocks_BNSC = _in_blocks(values_BTC, size)
    number = blocks_BNSC.shape[1]
    ones = values_BTC.new_ones
    within_BNSC = torch.matmul(ones(size, size).tril(), blocks_BNSC)
    if number == 1:
        return within_BNSC[:, 0, :length]
    before_BNC = torch.matmul(ones(number, number).tril(-1), within_BNSC[:, :, -1])
    sums_BNSC = within_BNSC + before_BNC[:, :, None]
    return sums_BNSC.reshape(batch, number * size, channels)[:, :length]


def _means_by_document(values_BTC: Tensor, documents_BT: Tensor) -> Tensor:
    batch, length, channels = values_BTC.shape
    size = min(BLOCK, length)
    blocks_BNSC = _in_blocks(values_BTC, size)
    number = blocks_BNSC.shape[1]
    documents_BNS = _in_blocks(documents_BT[..., None], size)[..., 0]
    places_T = torch.arange(length, device=values_BTC.device)
    starts_N1 = torch.arange(0, number * size, size, device=values_BTC.device)[:, None]

    same_BNSS = documents_BNS[..., :, None] == documents_BNS[..., None, :]
    within_BNSS = same_BNSS.tril().to(values_BTC.dtype)
    # Before a block only the document that it starts in matters, and only to that document.
    first_BN1 = documents_BNS[..., :1]
    before_BNT = (documents_BT[:, None] == first_BN1) & (places_T < starts_N1)
    before_BNT = before_BNT.to(values_BTC.dtype)
    continues_BNS1 = (documents_BNS == first_BN1)[..., None]

    sums_BNSC = within_BNSS @ blocks_BNSC + continues_BNS1 * (before_BNT @ values_BTC)[:, :, None]
    counts_BNS1 = (
        within_BNSS.sum(-1, keepdim=True) + continues_BNS1 * before_BNT.sum(-1)[:, :, None, None]
    )
    means_BNSC = sums_BNSC / counts_BNS1
    return means_BNSC.reshape(batch, number * size, channels)[:, :length]


def _in_blocks(values_BTC: Tensor, size: int) -> Tensor:
    """[B, N, S, C], with zeros after the end."""
    batch, length, channels = values_BTC.shape
    padded = functional.pad(values_BTC, (0, 0, 0, -length % size))
    return padded.reshape(batch, -1, size, channels)
