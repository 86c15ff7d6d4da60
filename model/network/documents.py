"""The documents of packed sequences, for attention that does not cross from one into another.

Shapes: B sequences, T positions, H heads, G key-value heads, K head dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

DOCUMENTS = "documents_BT"
"""The extra that says, under document masking, which document of its sequence each position is of:
whole numbers [B, T] that never decrease within a sequence."""

SMALLEST_FLEX_HEAD = 16
"""Flex attention's kernels take no smaller heads."""


class Documents:
    """Which positions belong together. Made for one forward pass, whose layers share its masks.

    Args:
        documents_BT: the number of each position's document within its sequence, never decreasing.
    """

    def __init__(self, documents_BT: Tensor) -> None:
        self.documents_BT = documents_BT
        self._biases: dict[torch.dtype, Tensor] = {}
        self._blocks: BlockMask | None = None

    def bias_B1TT(self, dtype: torch.dtype) -> Tensor:  # noqa: N802
        """0 where a position reads another, [B, 1, reader, read], and -inf elsewhere."""
        if dtype not in self._biases:
            same_BTT = self.documents_BT[:, :, None] == self.documents_BT[:, None, :]
            hidden_BTT = same_BTT.tril().logical_not()
            zeros_BTT = torch.zeros(hidden_BTT.shape, dtype=dtype, device=hidden_BTT.device)
            self._biases[dtype] = zeros_BTT.masked_fill(hidden_BTT, -torch.inf)[:, None]
        return self._biases[dtype]

    def by_flex_attention(self, query_BHTK: Tensor) -> bool:
        """Whether flex attention is to be used: on CUDA in compiled code.

        Uncompiled it has all scores in memory, and on a CPU it has no backward pass.
        """
        on_cuda = query_BHTK.device.type == "cuda"
        return on_cuda and torch.compiler.is_compiling() and self.fits_flex_attention(query_BHTK)

    def fits_flex_attention(self, query_BHTK: Tensor) -> bool:
        """Whether its kernels take heads of this size."""
        return query_BHTK.shape[-1] >= SMALLEST_FLEX_HEAD

    def flex_attention(
        self, query_BHTK: Tensor, key_BGTK: Tensor, value_BGTK: Tensor, *, scale: float
    ) -> Tensor:
        """The attention within documents, [B, H, T, K], without the blocks that the mask hides."""
        read_BHTK = flex_attention(
            query_BHTK,
            key_BGTK,
            value_BGTK,
            block_mask=self._block_mask(),
            scale=scale,
            enable_gqa=query_BHTK.shape[1] != key_BGTK.shape[1],
        )
        assert isinstance(read_BHTK, Tensor)
        return read_BHTK

    def _block_mask(self) -> BlockMask:
        if self._blocks is None:
            documents_BT = self.documents_BT
            batch, length = documents_BT.shape

            def reads(sequence: Tensor, head: Tensor, reader: Tensor, read: Tensor) -> Tensor:
                same = documents_BT[sequence, reader] == documents_BT[sequence, read]
                return same & (reader >= read)

            self._blocks = create_block_mask(
                reads, batch, None, length, length, device=str(documents_BT.device)
            )
        return self._blocks
