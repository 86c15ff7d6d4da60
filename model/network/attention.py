"""Attention: how a token reads the tokens before it.

A variant is a class with the methods of `Attention`, a line in ATTENTIONS, and its entry in
model/parts/.

Shapes: B sequences, T tokens, D width, A attention width, H heads, K head dimension, so A = H·K;
G key-value heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from model.network.causal_attention import causal_attention
from model.network.context import Context
from model.network.norms import RMSNorm
from model.network.projection import Projection, projected
from model.network.rotary import rotated
from model.spec import ModelConfig


class Attention(Protocol):
    """What a block needs of its attention, built from a ModelConfig and a factor of its logits."""

    def __call__(self, hidden_BTD: Tensor, context: Context) -> Tensor:
        """What each position reads from itself and the positions before it, [B, T, D]."""


class MultiHeadAttention(nn.Module):
    """Causal attention of H query heads to as many key-value heads, or fewer: 2·D·A + 2·D·G·K.

    With fewer it is grouped-query attention (Ainslie et al., 2023): H / G query heads in a row read
    the same keys and values.
    """

    def __init__(self, config: ModelConfig, *, logit_scale: float) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.scale = logit_scale / math.sqrt(config.head_dim)
        self.query = Projection(config, reads="d_model", writes="d_attention")
        self.key = Projection(config, reads="d_model", writes="d_kv")
        self.value = Projection(config, reads="d_model", writes="d_kv")
        self.output = Projection(config, reads="d_attention", writes="d_model")

    def forward(self, hidden_BTD: Tensor, context: Context) -> Tensor:
        """What each position reads from itself and the positions before it, [B, T, D]."""
        query_BHTK, key_BGTK, value_BGTK = self._read(hidden_BTD)
        query_BHTK, key_BGTK = rotated(query_BHTK, key_BGTK, context.cos_TK, context.sin_TK)
        if context.cache is not None:
            key_BGTK = context.cache.extended(self, "key", key_BGTK)
            value_BGTK = context.cache.extended(self, "value", value_BGTK)
        read_BHTK = causal_attention(
            query_BHTK, key_BGTK, value_BGTK, scale=self.scale, documents=context.documents
        )
        output: Tensor = self.output(read_BHTK.transpose(1, 2).flatten(2))
        return output

    def _read(self, hidden_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, before the rotation of the first two."""
        batch, length, _ = hidden_BTD.shape
        query_BHTK, key_BGTK, value_BGTK = (
            vectors_BTA.view(batch, length, -1, self.head_dim).transpose(1, 2)
            for vectors_BTA in projected(hidden_BTD, self.query, self.key, self.value)
        )
        return query_BHTK, key_BGTK, value_BGTK


class QKNormAttention(MultiHeadAttention):
    """Queries and keys of each head are normalised before their rotation (Henry et al., 2020; with
    RMSNorm as in Qwen3): 2·K gains, which all heads of a layer share."""

    def __init__(self, config: ModelConfig, *, logit_scale: float) -> None:
        super().__init__(config, logit_scale=logit_scale)
        self.query_norm = RMSNorm(config.head_dim, in_block=True)
        self.key_norm = RMSNorm(config.head_dim, in_block=True)

    def _read(self, hidden_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Before the rotation; queries and keys are normalised, in fp32."""
        query_BHTK, key_BGTK, value_BGTK = super()._read(hidden_BTD)
        return (
            self.query_norm(query_BHTK.float()).type_as(query_BHTK),
            self.key_norm(key_BGTK.float()).type_as(key_BGTK),
            value_BGTK,
        )


ATTENTIONS: dict[str, Callable[..., Attention]] = {
    "multi_head": MultiHeadAttention,
    "qk_norm": QKNormAttention,
}
