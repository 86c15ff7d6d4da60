"""Norms."""

from __future__ import annotations

from collections.abc import Mapping

from model.parts.part import FP32_BYTES, Amount, Part, Row, Sizes


class RMSNorm(Part):
    """A gain for each unit of width: two norms per layer, and one at the end."""

    def parameters(self, sizes: Sizes) -> Amount:
        return (2 * sizes.n_layers + 1) * sizes.d_model

    def forward_flops(self, sizes: Sizes) -> Amount:
        """Not counted, as in Kaplan et al., 2020."""
        return 0

    def activation_bytes(self, sizes: Sizes, bytes_per_activation: int) -> Amount:
        """For each of a layer's norms its input, and its output before the gain, always in fp32."""
        return sizes.n_layers * 4 * sizes.d_model * FP32_BYTES

    def rows(self, sizes: Sizes) -> tuple[Row, ...]:
        shape = f"{2 * sizes.n_layers + 1} of {sizes.d_model}"
        return (Row(part="norms", shape=shape, parameters=self.parameters(sizes)),)


NORMS: Mapping[str, Part] = {
    "rms_norm": RMSNorm(),
}
