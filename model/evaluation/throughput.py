"""How many tokens a second a model reads in batches, and the most memory that takes.

Shapes: B sequences, T tokens.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from model.evaluation.bits_per_byte import nats_by_token, scoring
from model.freed_memory import give_freed_memory_back
from model.network.batch import Batch
from model.network.documents import DOCUMENTS
from model.network.transformer import Transformer

WARM_UP = 2
"""Batches before any is timed."""
_STATUS = Path("/proc/self/status")
_FORGET_PEAK = Path("/proc/self/clear_refs")
_KIB = 1024


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """How fast text is scored."""

    batch_size: int
    length: int
    """Tokens of a sequence."""
    runs: int
    tokens_per_second: float
    """Of the median run."""
    peak_memory: int | None
    """Bytes above what was there before, the weights included; None where that is unknown."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scored:
    """Tokens of which all are scored."""

    inputs_BT: np.ndarray[tuple[int, int], np.dtype[np.int64]]
    targets_BT: np.ndarray[tuple[int, int], np.dtype[np.int64]]
    mask_BT: None = None

    @property
    def extras(self) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
        """Each sequence is one document."""
        return {DOCUMENTS: np.zeros(self.inputs_BT.shape, dtype=np.int64)}


def measure_throughput(
    model: Transformer,
    *,
    batch_size: int,
    runs: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Throughput:
    """Scores batches of whole contexts, in fp32, on the model's device with this process' threads.

    On CUDA the memory is what torch allocated; on Linux it is the growth of the process' resident
    memory, plus the weights.

    Raises ValueError for fewer than one run or sequence.
    """
    for name, value in (("runs", runs), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    device = next(model.parameters()).device
    length = model.config.context
    tokens = np.arange(batch_size * (length + 1)).reshape(batch_size, length + 1)
    tokens = tokens % model.config.vocab_size
    batch: Batch = _Scored(inputs_BT=tokens[:, :-1], targets_BT=tokens[:, 1:])
    memory = _Memory(model, device)
    seconds = []
    with scoring(model):
        for number in range(WARM_UP + runs):
            started = clock()
            nats_by_token(model, [batch])  # which brings the result to the CPU, and so waits
            if number >= WARM_UP:
                seconds.append(clock() - started)
    return Throughput(
        batch_size=batch_size,
        length=length,
        runs=runs,
        tokens_per_second=batch_size * length / float(np.median(seconds)),
        peak_memory=memory.peak(),
    )


class _Memory:
    """The most memory that is used from now on."""

    def __init__(self, model: Transformer, device: torch.device) -> None:
        self._weights = sum(one.numel() * one.element_size() for one in model.parameters())
        self._device = device
        self._before: int | None = None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif device.type == "cpu":
            # What was freed and kept would be used again, and so not be seen to grow.
            gc.collect()
            give_freed_memory_back()
            try:
                _FORGET_PEAK.write_text("5")
                self._before = _resident("VmRSS")
            except OSError:  # not Linux, or not allowed
                self._before = None

    def peak(self) -> int | None:
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        if self._before is None or (most := _resident("VmHWM")) is None:
            return None
        return self._weights + max(0, most - self._before)


def _resident(name: str) -> int | None:
    """A number of bytes in this process' status; None if it is not there."""
    for line in _STATUS.read_text("ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * _KIB
    return None
