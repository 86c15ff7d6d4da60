"""The seconds of a trial of 5M tokens on a card: its training, and its evaluations by how they are
done. Calculated from data sheets, not measured.

A step and an evaluation of the 10M baseline are traced on a fake GPU. A kernel takes as long as its
inputs and outputs take through the memory, or its FLOPs at the peak, and never less than LEAST;
kernels that are started one by one take LAUNCH each at least. Real kernels are slower, but for what
they find in the L2 cache, which is left out, as is compiled code.

python -m benchmarks.gpu_trial
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cyclopts import App

from benchmarks.gpu_cards import CARDS
from tests.gpu.fake_cuda import with_fake_cuda

LAUNCH, LEAST = 6e-6, 2e-6
"""Estimates: seconds for the host to start a kernel, and of one that does next to nothing."""
CONTEXT, TOKENS, STEP_TOKENS = 256, 5_000_000, 16 * 256
EVALUATIONS, SAMPLE_TOKENS, DEV_TOKENS = 20, 65_000, 270_000
"""By default; at V = 16k the sample has about so many, as has all of WikiText-103's dev split."""

app = App(name="python -m benchmarks.gpu_trial", help=__doc__, version_flags=[])


PEAKS: Mapping[str, Mapping[str, float]] = {
    "H100": {"fp32": 67e12, "tf32": 494.5e12},
    "RTX 4090": {"fp32": 82.6e12, "tf32": 82.6e12},
}
"""FLOP/s without sparsity of cards in benchmarks/gpu_cards.py, which has those of bf16."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """What a kernel does."""

    moved: int
    """Bytes of its inputs and outputs."""
    flops: int
    precision: str
    """Of its first input."""

    def seconds(self, card: str, *, tf32: bool) -> float:
        """On a card. tf32: whether it is what products of fp32 are computed in."""
        precision = "tf32" if tf32 and self.precision == "fp32" else self.precision
        peaks = {**PEAKS[card], "bf16": CARDS[card].dense_bf16}
        return max(LEAST, self.moved / CARDS[card].bandwidth, self.flops / peaks[precision])


Traced = Mapping[str, Sequence[Kernel]]


@app.default
def table() -> None:
    """Print what was traced and what it takes."""
    traced = {
        name: [Kernel(**one) for one in kernels]
        for name, kernels in json.loads(with_fake_cuda("benchmarks.traced_kernels")).items()
    }
    for name, kernels in traced.items():
        moved, flops = sum(one.moved for one in kernels), sum(one.flops for one in kernels)
        print(f"{name}: {len(kernels):,} kernels, {moved / 1e9:.2f} GB, {flops / 1e12:.2f} TFLOP")
    print(f"\n| | {' | '.join(PEAKS)} |\n|---|{'---|' * len(PEAKS)}")
    rows = [dict(_rows(traced, card)) for card in PEAKS]
    for what in rows[0]:
        print(f"| {what} | {' | '.join(f'{row[what]:.2f}' for row in rows)} |")


def _rows(traced: Traced, card: str) -> Iterator[tuple[str, float]]:
    """Seconds of a trial by what they go to."""
    steps = TOKENS / STEP_TOKENS
    yield "training, eager", steps * _seconds(traced["step"], card)
    yield "training, one graph a step", steps * _seconds(traced["step"], card, graph=True)
    for name in traced:
        sequences, _, precision = name.partition(" in ")
        if not precision:
            continue
        batches = EVALUATIONS * SAMPLE_TOKENS / (int(sequences) * CONTEXT)
        for tf32 in (False, True) if precision == "fp32" else (False,):
            for graph in (False, True):
                told = "tf32" if tf32 else precision
                how = f"{sequences} at once, {told}{', one graph a batch' if graph else ''}"
                once = _seconds(traced[name], card, tf32=tf32, graph=graph)
                yield f"{EVALUATIONS} evaluations, {how}", batches * once
    whole = DEV_TOKENS / (32 * CONTEXT) * _seconds(traced["32 in fp32"], card)
    yield "all of dev once, 32 at once, fp32", whole


def _seconds(
    kernels: Sequence[Kernel], card: str, *, tf32: bool = False, graph: bool = False
) -> float:
    """Of kernels that are started one by one, or as one graph."""
    busy = sum(kernel.seconds(card, tf32=tf32) for kernel in kernels)
    return busy if graph else max(busy, LAUNCH * len(kernels))


if __name__ == "__main__":
    app()
