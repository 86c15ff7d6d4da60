"""What cards could do at most by their data sheets, and the roof that their memory sets for the 10M
baseline. Calculated, not measured.

A step of a small model is bound by what it moves, not by its FLOPs: a token's forward and backward
pass moves about 880 kB through the memory if element-wise operations are fused between the
products, as torch.compile does. What stays in the L2 cache moves less. The roof is the bandwidth
over these bytes.

python -m benchmarks.gpu_cards
"""

from __future__ import annotations

from dataclasses import dataclass

from cyclopts import App

from model.sizing.budget import solve
from model.sizing.cost import training_flops_per_token
from model.spec import ModelSpec

BYTES_PER_TOKEN = 880e3
"""Of the 10M baseline, bf16 activations; the same figure that guesses the speed of cards on offer
(tune_app/cloud/market/gpu_speeds.csv)."""

app = App(name="python -m benchmarks.gpu_cards", help=__doc__, version_flags=[])


@dataclass(frozen=True, kw_only=True)
class Card:
    """A GPU by its data sheet."""

    dense_bf16: float
    """FLOP/s of the tensor cores with sums in fp32, without sparsity."""
    bandwidth: float
    """Bytes/s."""
    memory_gb: int

    @property
    def roof(self) -> float:
        """Tokens/s of the baseline at this bandwidth, or at the peak where that is less."""
        return min(self.bandwidth / BYTES_PER_TOKEN, self.dense_bf16 / baseline_flops())


CARDS: dict[str, Card] = {
    # The more special name first: a card is found by a part of what the driver calls it.
    "H200": Card(dense_bf16=989e12, bandwidth=4.8e12, memory_gb=141),
    "H100 PCIe": Card(dense_bf16=756e12, bandwidth=2.0e12, memory_gb=80),
    "H100 NVL": Card(dense_bf16=835e12, bandwidth=3.9e12, memory_gb=94),
    "H100": Card(dense_bf16=989e12, bandwidth=3.35e12, memory_gb=80),
    "A100-SXM4-80GB": Card(dense_bf16=312e12, bandwidth=2.039e12, memory_gb=80),
    "A100 80GB PCIe": Card(dense_bf16=312e12, bandwidth=1.935e12, memory_gb=80),
    "A100": Card(dense_bf16=312e12, bandwidth=1.555e12, memory_gb=40),
    "RTX 5090": Card(dense_bf16=209.5e12, bandwidth=1.792e12, memory_gb=32),
    "RTX 4090": Card(dense_bf16=165.2e12, bandwidth=1.008e12, memory_gb=24),
    "RTX 3090 Ti": Card(dense_bf16=80e12, bandwidth=1.008e12, memory_gb=24),
    "RTX 3090": Card(dense_bf16=71e12, bandwidth=0.936e12, memory_gb=24),
}
"""NVIDIA's figures; docs/gpu.md says from where, and what of them was not verified."""


def card_of(name: str) -> Card | None:
    """The card that the driver calls so; None if it is not in the table."""
    return next((card for part, card in CARDS.items() if part in name), None)


def baseline_flops() -> int:
    """FLOPs of a token of the 10M baseline, forward and backward."""
    return training_flops_per_token(solve(ModelSpec()))


@app.default
def table() -> None:
    """Print the table."""
    print(
        "| card | dense bf16, TFLOP/s | memory, GB | bandwidth, GB/s | roof, tokens/s | MFU at it |"
    )
    print("|---|---|---|---|---|---|")
    for name, card in reversed(CARDS.items()):
        share = card.roof * baseline_flops() / card.dense_bf16
        print(
            f"| {name} | {card.dense_bf16 / 1e12:g} | {card.memory_gb} | "
            f"{card.bandwidth / 1e9:,.0f} | {card.roof / 1e6:.2f}M | {share:.0%} |"
        )


if __name__ == "__main__":
    app()
