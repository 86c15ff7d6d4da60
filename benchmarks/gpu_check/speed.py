"""Tokens a second: our loops against plain ones, and of every cell of a space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch._inductor import config as inductor_config
from torch._inductor.utils import fresh_cache

from benchmarks.gpu_check.loops import plain_steps, steps_of, training_of
from benchmarks.gpu_check.timing import GPU, Work, seconds_of, utilisation
from model.sizing.table import parameter_table
from model.spec import ModelConfig
from model.training.compilation import should_compile
from model.training.training import Training
from tune_app.api.planned import PlannedSweep

SMALL, LARGE = 16, 256
"""Sequences of a step: what a cell trains with, and enough to keep a large card busy."""
MOST_MILLIONS = 10_000
"""Of tokens, among which the least that compile=auto compiles is looked for."""


def loops(config: ModelConfig, *, steps: int) -> Iterator[str]:
    """Our loops and plain ones, on a GPU.

    Args:
        config: sizes of the model.
        steps: that are timed.
    """
    total = parameter_table(config).total
    yield f"{total:,} parameters, {config.context} tokens a sequence; three turns each, the best."
    yield ""
    yield "| loop | sequences a step | tokens/s | MFU |"
    yield "|---|---|---|---|"
    found: list[str] = []
    for sequences in (SMALL, LARGE):
        speeds: dict[str, float] = {}
        for name, made in _contenders(config, sequences).items():
            speed = sequences * config.context / seconds_of(made(), steps)
            speeds[name] = speed
            yield f"| {name} | {sequences} | {speed:,.0f} | {utilisation(config, speed)} |"
            torch.compiler.reset()
        found.append(_break_even(config, sequences, speeds))
    yield ""
    yield from found


def _contenders(config: ModelConfig, sequences: int) -> Mapping[str, Callable[[], Work]]:
    ours = partial(training_of, config, sequences)
    plain = partial(plain_steps, config, sequences)
    return {
        "ours, eager": lambda: steps_of(ours()),
        "ours, compiled": lambda: steps_of(ours(compiled=True)),
        "ours, compiled, padded": lambda: steps_of(_padded(ours(compiled=True))),
        "ours, eager, text held": lambda: steps_of(ours(held=True)),
        "ours, eager, one graph": lambda: steps_of(ours(held=True, graph=True)),
        "ours, compiled, one graph": lambda: steps_of(ours(compiled=True, held=True, graph=True)),
        "plain, bf16": lambda: plain(compiled=False),
        "plain, bf16, compiled": lambda: plain(compiled=True),
    }


def _padded(training: Training) -> Training:
    """Compiled so that the sizes of all products are multiples of 16 bytes."""
    with inductor_config.patch(force_shape_pad=True):
        training.step()
    return training


def _break_even(config: ModelConfig, sequences: int, speeds: Mapping[str, float]) -> str:
    """From how many tokens on compiling pays here, beside what `auto` goes by."""
    with fresh_cache():
        training = training_of(config, sequences, compiled=True)
        training.step()
    torch.compiler.reset()
    seconds = training.compile_seconds
    saved = 1 / speeds["ours, eager"] - 1 / speeds["ours, compiled"]
    pays = f"it pays from {seconds / saved:,.0f} tokens on" if saved > 0 else "it never pays"
    lengths = (millions * 10**6 for millions in range(1, MOST_MILLIONS))
    least = next(
        tokens
        for tokens in lengths
        if should_compile("auto", config, tokens=tokens, sequences=sequences, device=GPU)
    )
    return (
        f"Compiling {sequences} sequences cold took {seconds:.1f} s: {pays}; compile=auto does it "
        f"from {least:,} tokens on."
    )


def cells(planned: PlannedSweep, *, steps: int, device: str = GPU) -> Iterator[str]:
    """The cells of a sweep, eager and as one graph a step; on a CPU eager alone.

    Args:
        planned: the sweep; infeasible cells are left out.
        steps: that are timed.
        device: to train on.
    """
    ways = (
        {"eager": False, "one graph": True}
        if torch.device(device).type == "cuda"
        else {"eager": False}
    )
    yield f"Steps of {SMALL} sequences, the text held on the device; three turns each, the best."
    yield ""
    yield "| cell | width | layers | feed-forward | parameters |" + "".join(
        f" {name}, tokens/s | MFU |" for name in ways
    )
    yield "|" + "---|" * (5 + 2 * len(ways))
    for cell in planned.plan.feasible:
        assert cell.solved is not None
        config = cell.solved.model
        line = (
            f"| {cell.label} | {config.d_model} | {config.n_layers} | {config.d_ff} "
            f"| {parameter_table(config).total:,} |"
        )
        for graph in ways.values():
            work = steps_of(training_of(config, SMALL, held=True, graph=graph, device=device))
            speed = SMALL * config.context / seconds_of(work, steps, device=device)
            line += f" {speed:,.0f} | {utilisation(config, speed)} |"
        yield line
