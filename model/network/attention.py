"""Attention: how a token reads the tokens before it.

A variant is a class with the methods of `Attention`, a line in ATTENTIONS, and its entry in
model/parts.py.

Shapes: B sequences, T tokens, D width, A attention width, H heads, K head dimension, so A = H·K.
In cos_TK and sin_TK, K is half of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network.context import Context
from model.network.projection import Projection
from model.spec import ModelConfig

ROTARY_BASE = 10_000.0

PRODUCTS_UP_TO = 512
"""Up to this many tokens, attention on a CPU is written out. Measured on two cores with AVX-512
bf16 (torch 2.13, 2,048 tokens in all, 4 heads of 56), forward and backward of
scaled_dot_product_attention against the products: 14.9 and 6.5 ms in bf16 at 256 tokens, 25 and
12 ms at 512, 28 and 24 ms at 1,024, 49 and 49 ms at 2,048; in fp32 the two are about equal up to
512 tokens and the products slower from 1,024."""


def rotary_table(length: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [length, head_dim / 2] of rotary positions (Su et al., 2021, eq. 15)."""
    frequency_K = ROTARY_BASE ** (-torch.arange(0, head_dim, 2) / head_dim)
    angle_TK = torch.arange(length)[:, None] * frequency_K
    return angle_TK.cos(), angle_TK.sin()


def rotate(vectors_BHTK: Tensor, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """Vectors rotated by their positions: entries i and i + K/2 form a plane."""
    first, second = vectors_BHTK.chunk(2, dim=-1)
    turned = (first * cos_TK - second * sin_TK, second * cos_TK + first * sin_TK)
    return torch.cat(turned, dim=-1).type_as(vectors_BHTK)


def causal_attention(
    query_BHTK: Tensor, key_BHTK: Tensor, value_BHTK: Tensor, *, scale: float
) -> Tensor:
    """softmax(scale · query · keyᵀ) · value, [B, H, T, K], over each position and those before it.

    There may be more keys than queries: the queries are then those of the last positions.

    Calls scaled_dot_product_attention, except on a CPU up to PRODUCTS_UP_TO tokens, where matrix
    products are faster than its kernel.
    """
    length, seen = query_BHTK.shape[2], key_BHTK.shape[2]
    if length == seen and (query_BHTK.device.type != "cpu" or length > PRODUCTS_UP_TO):
        return functional.scaled_dot_product_attention(
            query_BHTK, key_BHTK, value_BHTK, is_causal=True, scale=scale
        )
    logits_BHTT = (query_BHTK * scale) @ key_BHTK.transpose(-1, -2)
    if length > 1:
        logits_BHTT = logits_BHTT + torch.full(
            (length, seen), -torch.inf, dtype=query_BHTK.dtype, device=query_BHTK.device
        ).triu(1 + seen - length)
    return logits_BHTT.softmax(-1) @ value_BHTK


class Attention(Protocol):
    """What a block needs of its attention, built from a ModelConfig and a factor of its logits."""

    def __call__(self, hidden_BTD: Tensor, context: Context) -> Tensor:
        """What each position reads from itself and the positions before it, [B, T, D]."""


class MultiHeadAttention(nn.Module):
    """Causal attention, each head with its own queries, keys and values: 4·D·A."""

    def __init__(self, config: ModelConfig, *, logit_scale: float) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.scale = logit_scale / math.sqrt(config.head_dim)
        self.query = Projection(config, reads="d_model", writes="d_attention")
        self.key = Projection(config, reads="d_model", writes="d_attention")
        self.value = Projection(config, reads="d_model", writes="d_attention")
        self.output = Projection(config, reads="d_attention", writes="d_model")

    def forward(self, hidden_BTD: Tensor, context: Context) -> Tensor:
        """What each position reads from itself and the positions before it, [B, T, D]."""
        cos_TK, sin_TK = context.cos_TK, context.sin_TK
        query_BHTK = rotate(self._split(self.query(hidden_BTD)), cos_TK, sin_TK)
        key_BHTK = rotate(self._split(self.key(hidden_BTD)), cos_TK, sin_TK)
        value_BHTK = self._split(self.value(hidden_BTD))
        if context.cache is not None:
            key_BHTK = context.cache.extended(self, "key", key_BHTK)
            value_BHTK = context.cache.extended(self, "value", value_BHTK)
        read_BHTK = causal_attention(query_BHTK, key_BHTK, value_BHTK, scale=self.scale)
        output: Tensor = self.output(read_BHTK.transpose(1, 2).flatten(2))
        return output

    def _split(self, vectors_BTA: Tensor) -> Tensor:
        batch, length, _ = vectors_BTA.shape
        return vectors_BTA.view(batch, length, self.n_heads, -1).transpose(1, 2)


ATTENTIONS: dict[str, Callable[..., Attention]] = {
    "multi_head": MultiHeadAttention,
}
