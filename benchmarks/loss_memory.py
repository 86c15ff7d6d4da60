"""Memory and time of the loss: ours, plain cross-entropy, and torch's linear_cross_entropy.

Each runs in a process of its own; memory is how much the first forward and backward
pass raises its peak resident set. bf16 autocast.

python -m benchmarks.loss_memory
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from cyclopts import App
from torch import Tensor
from torch.nn import LinearCrossEntropyOptions, functional

from model.network.loss import linear_cross_entropy

TOKENS, WIDTH, VOCABULARY = 2048, 220, 16_000

app = App(name="python -m benchmarks.loss_memory", help=__doc__, version_flags=[])


def plain(features: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of all logits in fp32."""
    logits = functional.linear(features, weight).float()
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def library(
    options: LinearCrossEntropyOptions | None,
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """torch's own, on bf16 inputs, because autocast does not cover its chunked path."""

    def loss(features: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        return functional.linear_cross_entropy(
            features.flatten(0, 1).bfloat16(),
            weight.bfloat16(),
            targets.flatten(),
            options=options,
        )

    return loss


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "ours": linear_cross_entropy,
    "plain cross-entropy": plain,
    "torch, whole": library(None),
    "torch, chunks, fp32 sums": library(LinearCrossEntropyOptions()),
    "torch, chunks of 512, bf16 sums": library(
        LinearCrossEntropyOptions(acc_policy="compact", batch_chunk_size=512)
    ),
}


@app.default
def compare(*, threads: int = 2, repetitions: int = 15) -> None:
    """Measure every loss and print a table.

    Parameters
    ----------
    threads
        CPU threads.
    repetitions
        Forward and backward passes timed.
    """
    print(
        f"{TOKENS:,} tokens, width {WIDTH}, vocabulary {VOCABULARY:,}, bf16, {threads} threads, "
        f"torch {torch.__version__}\n"
        f"{'':34}{'peak MB':>9}{'ms median':>11}{'range':>14}{'error of gradients':>20}"
    )
    for name in LOSSES:
        command = [sys.executable, "-m", "benchmarks.loss_memory", "worker", name]
        output = subprocess.run(
            [*command, str(threads), str(repetitions)], check=True, capture_output=True, text=True
        )
        row = json.loads(output.stdout.splitlines()[-1])
        low, high = min(row["ms"]), max(row["ms"])
        print(
            f"{name:34}{row['megabytes']:9,.0f}{median(row['ms']):11.0f}"
            f"{f'{low:.0f}-{high:.0f}':>14}{row['error']:20.4f}"
        )


@app.command(show=False)
def worker(name: str, threads: int, repetitions: int) -> None:
    """Measures one loss and prints it as JSON."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    features = torch.randn(8, TOKENS // 8, WIDTH, requires_grad=True)
    weight = (torch.randn(VOCABULARY, WIDTH) / 10).requires_grad_()
    targets = torch.randint(0, VOCABULARY, (8, TOKENS // 8))
    loss = LOSSES[name]

    def gradients() -> tuple[Tensor, ...]:
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(features, weight, targets)
        return torch.autograd.grad(value, (features, weight))

    before = _peak_bytes()
    gradients()
    peak = _peak_bytes()
    milliseconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        gradients()
        milliseconds.append((time.perf_counter() - started) * 1000)
    exact = torch.autograd.grad(plain(features, weight, targets), (features, weight))
    error = max(
        ((ours - theirs).norm() / theirs.norm()).item()
        for ours, theirs in zip(gradients(), exact, strict=True)
    )
    print(json.dumps({"megabytes": (peak - before) / 1e6, "ms": milliseconds, "error": error}))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    app()
