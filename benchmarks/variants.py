"""Speed and memory of ways to spend parameters, over those of SwiGLU with a tied embedding.

All have as many parameters, one width and one depth (`untied` has fewer layers, and the experts
with `active` more parameters that a token does not use). Every contender trains in a process of its
own, and they take turns; ratios are taken within a round. Memory is what training adds to the
process at its peak. `moe, loop` computes what `moe` does with one selection of tokens for each
expert.

python -m benchmarks.variants --rounds 5
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from cyclopts import App
from torch import Tensor
from torch.nn import functional

from benchmarks.race import race, ratios
from data.batches import RandomBatches
from model.network.context import Context
from model.network.moe import MixtureOfExperts
from model.parts.feed_forwards import FEED_FORWARDS, has_experts
from model.sizing.budget import solve
from model.sizing.counts import count_parameters
from model.spec import ModelConfig, ModelSpec
from model.training.settings import TrainingConfig
from model.training.training import Training

BASE = "swiglu"
LOOP = ", loop"
SHAPE: Mapping[str, Any] = {"d_model": 224, "n_layers": 11, "glu_expansion": None}
SMALL: Mapping[str, Any] = {
    **{"target_parameters": 950_000, "vocab_size": 4_096, "n_heads": 2, "context": 128},
    **{"d_model": 80, "n_layers": 8},
}
EXPERTS: Mapping[str, Any] = {"feed_forward": "moe", "n_experts": 8, "top_k": 2}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    **{
        name: {"feed_forward": name}
        for name, part in FEED_FORWARDS.items()
        if not part.not_for_training and not has_experts(name)
    },
    "moe": EXPERTS,
    f"moe{LOOP}": EXPERTS,
    "moe, active": {**EXPERTS, "budget": "active"},
    "untied": {"embedding": "untied", "embedding_ratio": None, "n_layers": None},
    "factorized 25 %": {"embedding": "factorized", "embedding_ratio": 0.25},
    "factorized_untied 25 %": {"embedding": "factorized_untied", "embedding_ratio": 0.25},
}

app = App(name="python -m benchmarks.variants", help=__doc__, version_flags=[])


@app.default
def compare(
    *, rounds: int = 5, steps: int = 2, threads: int = 2, batch_size: int = 8, small: bool = False
) -> None:
    """Train all in turns and print the ratios.

    Parameters
    ----------
    rounds
        Turns of each contender.
    steps
        Training steps a turn.
    threads
        CPU threads.
    batch_size
        Sequences a step.
    small
        0.95M parameters instead of 10M.
    """
    laps = race(
        {
            name: [
                *("-m", "benchmarks.variants", "worker", name),
                *map(str, (rounds, steps, threads, batch_size, int(small))),
            ]
            for name in VARIANTS
        },
        rounds=rounds + 1,
    )
    turns = {name: replace(lap, figures=lap.figures[:-1]) for name, lap in laps.items()}
    memory = {name: lap.figures[-1] for name, lap in laps.items()}
    print(
        f"\n{batch_size} sequences a step, {threads} threads, eager, "
        f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}; median (range) of "
        f"{rounds} rounds of {steps} steps\n"
    )
    print(
        f"{'':24}{'parameters':>12}{'active':>12}{'tokens/s':>10}{'speed':>7}{'range':>12}{'memory':>8}"
    )
    for name in VARIANTS:
        count = count_parameters(_config(name, small=small))
        middle, least, greatest = ratios(turns, name, BASE)
        print(
            f"{name:24}{count.total:12,}{count.active:12,}{turns[name].middle:10,.0f}"
            f"{middle:7.2f}{f'{least:.2f}-{greatest:.2f}':>12}{memory[name] / memory[BASE]:8.2f}"
        )


@app.command(show=False)
def worker(name: str, *numbers: int) -> None:
    """One contender: ready when warm, then a turn for each line of input; the last tells memory."""
    rounds, steps, threads, batch_size, small = numbers
    started = time.perf_counter()
    torch.set_num_threads(threads)
    config = _config(name, small=bool(small))
    before = _peak_memory()
    training = _training(config, batch_size)
    if name.endswith(LOOP):
        for block in training.model.blocks:
            block.feed_forward.forward = _Loop(block.feed_forward)
    training.step()
    print(time.perf_counter() - started, flush=True)
    for turn, _ in enumerate(sys.stdin):
        if turn == rounds:
            print(_peak_memory() - before, flush=True)
            continue
        started = time.perf_counter()
        for _ in range(steps):
            training.step()
        print(steps * batch_size * config.context / (time.perf_counter() - started), flush=True)


class _Loop:
    """The mixture of experts as a loop that selects each expert's tokens."""

    def __init__(self, layer: MixtureOfExperts) -> None:
        self._layer = layer

    def __call__(self, hidden_BTD: Tensor, context: Context) -> Tensor:
        layer, rows_SD = self._layer, hidden_BTD.flatten(0, 1)
        weight_SK, expert_SK, _ = layer._route(rows_SD, context)
        mixed_SD = torch.zeros_like(rows_SD)
        for expert in range(layer.n_experts):
            row, choice = (expert_SK == expert).nonzero(as_tuple=True)
            gate_FD, up_FD, down_DF = (
                matrices.weight_EMN[expert] for matrices in (layer.gate, layer.up, layer.down)
            )
            chosen = rows_SD[row]
            inner = functional.silu(functional.linear(chosen, gate_FD))
            made = functional.linear(inner * functional.linear(chosen, up_FD), down_DF)
            mixed_SD = mixed_SD.index_add(
                0, row, (made * weight_SK[row, choice, None]).to(mixed_SD.dtype)
            )
        return mixed_SD.view_as(hidden_BTD)


def _config(name: str, *, small: bool) -> ModelConfig:
    return solve(ModelSpec(**{**SHAPE, **(SMALL if small else {}), **VARIANTS[name]}))


def _training(config: ModelConfig, batch_size: int) -> Training:
    batches = RandomBatches(
        vocab_size=config.vocab_size, context=config.context, batch_size=batch_size
    )
    settings = TrainingConfig(tokens=10_000_000, batch_size=batch_size, compile="off")
    return Training(config, settings, batches, baseline=config)


def _peak_memory() -> float:
    """Of this process, in KiB on Linux."""
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    app()
