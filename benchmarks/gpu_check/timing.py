"""How long work takes on a device."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from benchmarks.gpu_cards import card_of
from model.sizing.cost import training_flops_per_token
from model.spec import ModelConfig

Work = Callable[[], object]

GPU = "cuda:0"
WARM_UP = 5
TURNS = 3


def seconds_of(work: Work, times: int, *, device: str = GPU) -> float:
    """Seconds of doing the work once: the best of three turns of so many times."""
    for _ in range(WARM_UP):
        work()
    turns = []
    for _ in range(TURNS):
        wait_for(device)
        started = time.perf_counter()
        for _ in range(times):
            work()
        wait_for(device)
        turns.append((time.perf_counter() - started) / times)
    return min(turns)


def wait_for(device: str) -> None:
    """Returns once the device has done what it was asked for."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def utilisation(config: ModelConfig, tokens_per_second: float, *, device: str = GPU) -> str:
    """The share of the card's peak in bf16 (MFU), as text."""
    card = card_of(torch.cuda.get_device_name(device)) if torch.cuda.is_available() else None
    if card is None:
        return "no peak known"
    return f"{tokens_per_second * training_flops_per_token(config) / card.dense_bf16:.1%}"
