"""The attention of each position to itself and those before it: softmax(q · kᵀ) · v, once.

Shapes: B sequences, T positions of the queries, S of the keys, H query heads, G key-value heads,
R = H / G query heads that read one of these, K head dimension; Q queries of a block.
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
512 tokens and the products slower from 1,024. That was in one block of queries."""
QUERIES_OF_A_BLOCK = 128
"""Written-out attention reads, for so many queries at once, only the keys up to the last of them,
so that half of what the future hides, or more, is not computed. Gradients of keys and values are
those of one block up to the order of their sums; what is read, and the gradients of queries, had
the same bits where it was tried. Measured on one core with AVX-512 (torch 2.13, fp32, 2,048 tokens
in all, 4 heads of 52), forward and backward, eager and compiled: 60 and 47 ms in one block at 256
tokens, 45 and 40 in blocks of 128, 48 and 39 in blocks of 64; at 512 tokens 129 and 102, 82 and 65,
95 and 68."""


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
    products, a block of queries at a time, are faster than its kernel. Documents in compiled code
    on CUDA go to flex attention, which skips what they hide.
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
    length, seen = query_BHTK.shape[2], key_BGSK.shape[2]
    bias_B1TT = None if documents is None else documents.bias_B1TT(query_BHTK.dtype)
    reads: list[Tensor] = []
    for start in range(0, length, QUERIES_OF_A_BLOCK):
        end = min(start + QUERIES_OF_A_BLOCK, length)
        visible = seen - length + end
        reads.append(
            _read_by_block(
                query_BHTK[:, :, start:end],
                key_BGSK[:, :, :visible],
                value_BGSK[:, :, :visible],
                scale=scale,
                bias_B1QS=None if bias_B1TT is None else bias_B1TT[..., start:end, :visible],
            )
        )
    return reads[0] if len(reads) == 1 else torch.cat(reads, dim=2)


def _read_by_block(
    query_BHQK: Tensor,
    key_BGSK: Tensor,
    value_BGSK: Tensor,
    *,
    scale: float,
    bias_B1QS: Tensor | None,
) -> Tensor:
    """What queries read, the last of which is at the last key; the bias hides the future, too."""
    batch, heads, length, size = query_BHQK.shape
    kv_heads, seen = key_BGSK.shape[1:3]
    folded = kv_heads, heads // kv_heads * length
    scaled_BHQK = query_BHQK * scale
    if kv_heads < heads:
        # Query heads of one key-value head as further rows: faster than to repeat keys and values.
        scaled_BHQK = scaled_BHQK.reshape(batch, *folded, size)
    logits_BHQS = scaled_BHQK @ key_BGSK.transpose(-1, -2)
    if kv_heads < heads:
        logits_BHQS = logits_BHQS.view(batch, heads, length, seen)
    if bias_B1QS is not None:
        logits_BHQS = logits_BHQS + bias_B1QS
    elif length > 1:
        logits_BHQS = logits_BHQS + torch.full(
            (length, seen), -torch.inf, dtype=query_BHQK.dtype, device=query_BHQK.device
        ).triu(1 + seen - length)
    weights_BHQS = logits_BHQS.softmax(-1)
    if kv_heads < heads:
        weights_BHQS = weights_BHQS.view(batch, *folded, seen)
    read_BHQK = weights_BHQS @ value_BGSK
    return read_BHQK.view(batch, heads, length, size) if kv_heads < heads else read_BHQK
