"""Feed-forwards that use all their parameters for each token, with a gate and without."""

from __future__ import annotations

from model.parts.part import Amount, LayerPart, Sizes


class FeedForward(LayerPart):
    """`up` and `down`: 2·d_model·d_ff."""

    label = "feed-forward"
    free = "d_ff"

    def matrices(self, sizes: Sizes) -> Amount:
        return 2 * sizes.d_model * sizes.d_ff

    def kept(self, sizes: Sizes) -> Amount:
        """The input, `up` and its activation."""
        return sizes.d_model + 2 * sizes.d_ff

    def shape(self, sizes: Sizes) -> str:
        return f"{sizes.d_model} × {sizes.d_ff}"


class GatedFeedForward(FeedForward):
    """`gate`, `up` and `down`: 3·d_model·d_ff (Shazeer, 2020)."""

    def matrices(self, sizes: Sizes) -> Amount:
        return 3 * sizes.d_model * sizes.d_ff

    def kept(self, sizes: Sizes) -> Amount:
        """The input, `gate`, its activation, `up` and their product."""
        return sizes.d_model + 4 * sizes.d_ff
