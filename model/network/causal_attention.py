"""The attention of each position to itself and those before it: softmax(q · kᵀ) · v, once.

Shapes: B sequences, T positions of the queries, S of the keys, H query heads, G key-value heads,
R = H / G query heads that read one of these, K head dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from model.network.documents import Documents

PRODUCTS_UP_TO = 512
"""Up to this many tokens, attention on a CPU is written out. Measured on two cores with AVX-512
bf16 (torch 2.13, 2,048 tokens in all, 4 heads of 56), forward and backward of
scaled_dot_product_attention against the products: 14.9 and 6.5 ms in bf16 at 256 tokens, 25 and
12 ms at 512, 28 and 24 ms at 1,024, 49 and 49 ms at 2,048; in fp32 the two are about equal up to
512 tokens and the products slower from 1,024."""


def causal_attention(
    query_BHTK: Tensor,
    key_BGSK: Tensor,
    value_BGSK: Tensor,
    *,
    scale: float,
    documents: Documents | None = None,
) -> Tensor:
    """softmax(scale · query · keyᵀ) · value, [B, H, T, K], over each position and those before it.

    With documents, over those of its own document alone. Query heads read key-value heads in order:
    the first R the first one. There may be more keys than queries: the queries are then those of
    the last positions.

    Calls scaled_dot_product_attention, except on a CPU up to PRODUCTS_UP_TO tokens, where matrix
    products are faster than its kernel. Documents in compiled code on CUDA go to flex attention,
    which skips what they hide.
    """
    length, seen = query_BHTK.shape[2], key_BGSK.shape[2]
    if documents is not None and documents.by_flex_attention(query_BHTK):
        return documents.flex_attention(query_BHTK, key_BGSK, value_BGSK, scale=scale)
    if length == seen and (query_BHTK.device.type != "cpu" or length > PRODUCTS_UP_TO):
        return _by_kernel(query_BHTK, key_BGSK, value_BGSK, scale=scale, documents=documents)
    return _by_products(query_BHTK, key_BGSK, value_BGSK, scale=scale, documents=documents)


def _by_kernel(
    query_BHTK: Tensor,
    key_BGTK: Tensor,
    value_BGTK: Tensor,
    *,
    scale: float,
    documents: Documents | None,
) -> Tensor:
    repeats = query_BHTK.shape[1] // key_BGTK.shape[1]
    on_cpu = query_BHTK.device.type == "cpu"
    if repeats > 1 and not on_cpu:
        # On CUDA only some kernels take fewer heads; with the others torch falls back to all scores
        # in memory.
        key_BGTK = key_BGTK.repeat_interleave(repeats, dim=1)
        value_BGTK = value_BGTK.repeat_interleave(repeats, dim=1)
    return functional.scaled_dot_product_attention(
        query_BHTK,
        key_BGTK,
        value_BGTK,
        attn_mask=None if documents is None else documents.bias_B1TT(query_BHTK.dtype),
        is_causal=documents is None,
        scale=scale,
        enable_gqa=repeats > 1 and on_cpu,
    )


def _by_products(
    query_BHTK: Tensor,
    key_BGSK: Tensor,
    value_BGSK: Tensor,
    *,
    scale: float,
    documents: Documents | None,
) -> Tensor:
    batch, heads, length, size = query_BHTK.shape
    kv_heads, seen = key_BGSK.shape[1:3]
    folded = kv_heads, heads // kv_heads * length
    scaled_BHTK = query_BHTK * scale
    if kv_heads < heads:
        # Query heads of one key-value head as further rows: faster than to repeat keys and values.
        scaled_BHTK = scaled_BHTK.reshape(batch, *folded, size)
    logits_BHTS = scaled_BHTK @ key_BGSK.transpose(-1, -2)
    if kv_heads < heads:
        logits_BHTS = logits_BHTS.view(batch, heads, length, seen)
    if documents is not None:
        logits_BHTS = logits_BHTS + documents.bias_B1TT(query_BHTK.dtype)
    elif length > 1:
        logits_BHTS = logits_BHTS + torch.full(
            (length, seen), -torch.inf, dtype=query_BHTK.dtype, device=query_BHTK.device
        ).triu(1 + seen - length)
    weights_BHTS = logits_BHTS.softmax(-1)
    if kv_heads < heads:
        weights_BHTS = weights_BHTS.view(batch, *folded, seen)
    read_BHTK = weights_BHTS @ value_BGSK
    return read_BHTK.view(batch, heads, length, size) if kv_heads < heads else read_BHTK
