"""Training speed of the 10M baseline against other loops of the same size, on this machine.

Every loop runs in a process of its own, and they take turns. Figures are tokens per second; ratios
are taken within a round.

python -m benchmarks.throughput --rounds 5
"""

from __future__ import annotations

import sys
import time

import torch
from cyclopts import App

from benchmarks.contenders import CONTENDERS
from benchmarks.race import Lap, race, ratios
from model.sizing.budget import solve
from model.sizing.table import parameter_table
from model.spec import ModelSpec

BATCH_SIZE = 8
WARM_UP_STEPS = 2
OURS = "ours compiled"

app = App(name="python -m benchmarks.throughput", help=__doc__, version_flags=[])


@app.default
def compare(*, rounds: int = 5, steps: int = 5, threads: int = 2) -> None:
    """Run all loops in turns and print their speeds.

    Parameters
    ----------
    rounds
        Turns of each loop.
    steps
        Training steps per turn.
    threads
        CPU threads.
    """
    commands = {
        name: ["-m", "benchmarks.throughput", "worker", name, str(steps), str(threads)]
        for name in CONTENDERS
    }
    laps = race(commands, rounds=rounds)
    _print(laps, rounds=rounds, steps=steps, threads=threads)


@app.command(show=False)
def worker(name: str, steps: int, threads: int) -> None:
    """One loop: ready when warm, then one turn for each line of input."""
    started = time.perf_counter()
    torch.set_num_threads(threads)
    config = solve(ModelSpec())
    step = CONTENDERS[name](config, BATCH_SIZE)
    for _ in range(WARM_UP_STEPS):
        step()
    print(time.perf_counter() - started, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        for _ in range(steps):
            step()
        seconds = time.perf_counter() - started
        print(steps * BATCH_SIZE * config.context / seconds, flush=True)


def _print(laps: dict[str, Lap], *, rounds: int, steps: int, threads: int) -> None:
    config = solve(ModelSpec())
    cpu = torch.cpu.get_capabilities()
    print(
        f"\n{parameter_table(config).total:,} parameters (width {config.d_model}, depth "
        f"{config.n_layers}), vocabulary {config.vocab_size:,}, {BATCH_SIZE} × {config.context} "
        f"tokens a step\n{cpu.get('cpu_name')}, {threads} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, bf16 {bool(cpu.get('avx512_bf16'))}, "
        f"torch {torch.__version__}; median (range) of {rounds} rounds of {steps} steps\n"
    )
    print(f"{'tokens/s':34}{'median':>8}{'range':>16}{'ours is':>10}{'range':>14}{'ready':>9}")
    for name, lap in laps.items():
        middle, least, greatest = ratios(laps, OURS, name)
        low, high = lap.range
        print(
            f"{name:34}{lap.middle:8,.0f}{f'{low:,.0f}-{high:,.0f}':>16}{middle:9.2f}×"
            f"{f'{least:.2f}-{greatest:.2f}':>14}{lap.ready_seconds:7.1f} s"
        )


if __name__ == "__main__":
    app()
