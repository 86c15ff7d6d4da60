"""How long a model takes to read a prompt, and then for each next token, at batch 1.

Shapes: B sequences (here 1), T tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from model.network.cache import Cache, needs_whole_text
from model.network.transformer import Transformer

WARM_UP = 10
"""Runs before any is timed."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds of repeated runs."""

    median: float
    p95: float
    p99: float
    """Of fewer than a thousand runs it is hardly more than the slowest few."""

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        """The quantiles of some runs."""
        median, p95, p99 = np.quantile(seconds, [0.5, 0.95, 0.99]).tolist()
        return cls(median=median, p95=p95, p99=p99)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """The latency at one length."""

    length: int
    """Tokens of the prompt."""
    runs: int
    prefill: Times
    """To read the prompt: until the logits of the token behind it are there."""
    decode: Times
    """Of the next token, with the prompt in the cache; of a model that needs the whole text, of a
    pass over all of it."""


def measure_latency(
    model: Transformer, length: int, *, runs: int, clock: Callable[[], float] = time.perf_counter
) -> Latency:
    """The latency of a model on its device with the threads of this process.

    Raises ValueError for fewer than one run, or if prompt and token do not fit into the context.
    """
    if runs < 1:
        raise ValueError(f"runs is {runs}; it must be at least 1")
    if not 1 <= length < model.config.context:
        raise ValueError(
            f"a prompt of {length} tokens and one more do not fit into the context of "
            f"{model.config.context}"
        )
    device = next(model.parameters()).device
    tokens_BT = torch.arange(length + 1, device=device)[None] % model.config.vocab_size
    whole = needs_whole_text(model) is not None
    cache = Cache(capacity=model.config.context)

    def prefill() -> None:
        model.next_logits(tokens_BT[:, :length], None if whole else Cache(capacity=length))

    def decode() -> None:
        cache.length = length  # the token of the run before is written over
        model.next_logits(tokens_BT if whole else tokens_BT[:, length:], None if whole else cache)

    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        model.next_logits(tokens_BT[:, :length], None if whole else cache)
        return Latency(
            length=length,
            runs=runs,
            prefill=_times(prefill, runs, device, clock),
            decode=_times(decode, runs, device, clock),
        )


def _times(
    run: Callable[[], None], runs: int, device: torch.device, clock: Callable[[], float]
) -> Times:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    seconds = []
    for number in range(WARM_UP + runs):
        wait()
        started = clock()
        run()
        wait()
        took = clock() - started
        if number >= WARM_UP:
            seconds.append(took)
    return Times.of(seconds)
