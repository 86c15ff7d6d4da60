"""Attention, with as many key-value heads as query heads, or fewer."""

from __future__ import annotations

from collections.abc import Mapping

from model.parts.part import FP32_BYTES, Amount, LayerPart, Sizes


class MultiHeadAttention(LayerPart):
    """Queries, keys, values and output: 2·d_model·d_attention + 2·d_model·d_kv.

    Keys and values may have fewer heads than queries (Ainslie et al., 2023, "GQA").
    """

    label = "attention"
    free = "head_dim"

    def matrices(self, sizes: Sizes) -> Amount:
        return 2 * sizes.d_model * (sizes.d_attention + sizes.d_kv)

    def forward_flops(self, sizes: Sizes) -> Amount:
        """The matrices, and 2·d_attention each for scores and the weighted sum of values, per
        position that a token attends to: (context + 1) / 2 on average in a causal sequence."""
        scores = sizes.n_layers * sizes.d_attention * (sizes.context + 1)
        return super().forward_flops(sizes) + 2 * scores

    def kept(self, sizes: Sizes) -> Amount:
        """The input; queries, keys, values, what attention read, and its copy with heads merged."""
        return sizes.d_model + 3 * sizes.d_attention + 2 * sizes.d_kv

    def shape(self, sizes: Sizes) -> str:
        heads = f"{sizes.n_heads} heads of {sizes.head_dim}, {sizes.d_model} × {sizes.d_attention}"
        if sizes.d_kv == sizes.d_attention:
            return heads
        return f"{heads}, {sizes.d_kv // sizes.head_dim} of keys and values"


class QKNormAttention(MultiHeadAttention):
    """Queries and keys of each head are normalised, with a gain each that all heads share."""

    def vectors(self, sizes: Sizes) -> Amount:
        return 2 * sizes.head_dim

    def activation_bytes(self, sizes: Sizes, bytes_per_activation: int) -> Amount:
        """Also the norms' inputs and outputs before the gain, always in fp32."""
        normed = 2 * (sizes.d_attention + sizes.d_kv) * FP32_BYTES
        kept = super().activation_bytes(sizes, bytes_per_activation)
        return kept + sizes.n_layers * normed

    def shape(self, sizes: Sizes) -> str:
        return f"{super().shape(sizes)}, 2 norms of {sizes.head_dim}"


ATTENTIONS: Mapping[str, LayerPart] = {
    "multi_head": MultiHeadAttention(),
    "qk_norm": QKNormAttention(),
}
