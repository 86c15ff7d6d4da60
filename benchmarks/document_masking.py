"""What document masking costs: training speed with it over training speed without.

The baseline at several lengths of sequence, as many tokens a step at each. Every contender runs in
a process of its own, and they take turns; ratios are taken within a round. Speeds are tokens per
second of processor time, which other work on the machine disturbs least. Where the documents end
does not matter to the cost on a CPU, because a mask is added to all scores.

python -m benchmarks.document_masking --rounds 5
"""

from __future__ import annotations

import sys
import time

import torch
from cyclopts import App

from benchmarks.race import race, ratios
from data.batches import RandomBatches
from model.sizing.budget import solve
from model.spec import ModelConfig, ModelSpec
from model.training.settings import TrainingConfig
from model.training.training import Training

TOKENS = 2_048
"""Of a step."""
WARM_UP_STEPS = 1
CONTEXTS = (256, 1_024)

app = App(name="python -m benchmarks.document_masking", help=__doc__, version_flags=[])


@app.default
def compare(
    *,
    contexts: tuple[int, ...] = CONTEXTS,
    rounds: int = 5,
    steps: int = 1,
    threads: int = 2,
    compiled: bool = False,
    target_parameters: int = 10_000_000,
    vocab_size: int = 16_000,
) -> None:
    """Train with and without masks in turns, and print the ratios.

    Parameters
    ----------
    contexts
        Lengths of the sequences.
    rounds
        Turns of each contender.
    steps
        Training steps a turn.
    threads
        CPU threads.
    compiled
        Compile the model.
    target_parameters
        Of the model.
    vocab_size
        Of the model.
    """
    mode = "on" if compiled else "off"
    commands = {
        _name(context, masking): [
            *("-m", "benchmarks.document_masking", "worker", "--context", str(context)),
            "--masking" if masking else "--no-masking",
            *("--steps", str(steps), "--threads", str(threads), "--mode", mode),
            *("--target-parameters", str(target_parameters), "--vocab-size", str(vocab_size)),
        ]
        for context in contexts
        for masking in (False, True)
    }
    laps = race(commands, rounds=rounds)
    print(
        f"\n{target_parameters:,} parameters, {TOKENS:,} tokens a step, {threads} threads, "
        f"compile {mode}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}; "
        f"median (range) of {rounds} rounds of {steps} steps\n"
    )
    for context in contexts:
        masked, plain = _name(context, True), _name(context, False)
        middle, least, greatest = ratios(laps, masked, plain)
        print(
            f"{context:6,} tokens: {laps[plain].middle:8,.0f} tokens/s without, "
            f"{laps[masked].middle:8,.0f} with: {middle:.2f} ({least:.2f}-{greatest:.2f})"
        )


@app.command(show=False)
def worker(
    *,
    context: int,
    masking: bool,
    steps: int,
    threads: int,
    mode: str,
    target_parameters: int,
    vocab_size: int,
) -> None:
    """One contender: ready when warm, then one turn for each line of input."""
    started = time.perf_counter()
    torch.set_num_threads(threads)
    spec = ModelSpec(
        target_parameters=target_parameters,
        vocab_size=vocab_size,
        context=context,
        document_masking=masking,
    )
    training = _training(solve(spec), mode)
    for _ in range(WARM_UP_STEPS):
        training.step()
    print(time.perf_counter() - started, flush=True)
    for _ in sys.stdin:
        started = time.process_time()
        for _ in range(steps):
            training.step()
        print(steps * TOKENS / (time.process_time() - started), flush=True)


def _training(config: ModelConfig, mode: str) -> Training:
    batch_size = TOKENS // config.context
    batches = RandomBatches(
        vocab_size=config.vocab_size,
        context=config.context,
        batch_size=batch_size,
        end_of_text=0 if config.document_masking else None,
    )
    settings = TrainingConfig(tokens=10_000_000, batch_size=batch_size, compile=mode)
    return Training(config, settings, batches, baseline=config)


def _name(context: int, masking: bool) -> str:
    return f"{context} tokens, {'with' if masking else 'without'} masks"


if __name__ == "__main__":
    app()
