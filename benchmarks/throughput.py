"""Training speed of the 10M baseline against other loops of the same size, on this machine.

Every loop runs in a process of its own, and they take turns. Figures are tokens per second; ratios
are taken within a round. All multiply in the same precision: bf16 where the processor does so in
hardware, else fp32.

python -m benchmarks.throughput --rounds 5

Against an older version of this project, in a folder of its own with today's benchmarks:

git worktree add ../older COMMIT && cp benchmarks/*.py ../older/benchmarks/
python -m benchmarks.throughput --loops "ours compiled" --older ../older
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from cyclopts import App

from benchmarks.contenders import CONTENDERS
from benchmarks.race import Lap, race, ratios
from model.sizing.budget import solve
from model.sizing.table import parameter_table
from model.spec import ModelSpec
from model.training.hardware import bf16_is_fast

BATCH_SIZE = 8
WARM_UP_STEPS = 2
OURS = "ours compiled"
OLDER = f"{OURS}, older version"

app = App(name="python -m benchmarks.throughput", help=__doc__, version_flags=[])


@app.default
def compare(
    *,
    rounds: int = 5,
    steps: int = 5,
    threads: int = 2,
    precision: str | None = None,
    processor_time: bool = False,
    loops: Sequence[str] = tuple(CONTENDERS),
    older: Path | None = None,
) -> None:
    """Run the loops in turns and print their speeds.

    Parameters
    ----------
    rounds
        Turns of each loop.
    steps
        Training steps per turn.
    threads
        CPU threads.
    precision
        bf16 or fp32; without it the faster one.
    processor_time
        Count processor time instead of the clock's, which other work on the machine disturbs less.
        For one thread: threads that wait for each other use it up.
    loops
        Which ones; `ours compiled` is among them.
    older
        A checkout of an older version with today's benchmarks: its `ours compiled` takes part.
    """
    precision = precision or ("bf16" if bf16_is_fast("cpu") else "fp32")
    settings = [str(steps), str(threads), precision, str(processor_time)]
    worker = ["-m", "benchmarks.throughput", "worker"]
    commands = {name: [*worker, name, *settings] for name in dict.fromkeys([*loops, OURS])}
    folders: dict[str, Path] = {}
    if older is not None:
        commands[OLDER], folders[OLDER] = commands[OURS], older
    laps = race(commands, rounds=rounds, folders=folders)
    clock = "processor time" if processor_time else "by the clock"
    print(
        f"\n{_told(threads, precision)}, {clock}; median (range) of {rounds} rounds of {steps} "
        "steps\n"
    )
    _print(laps)


@app.command(show=False)
def worker(name: str, steps: int, threads: int, precision: str, processor_time: bool) -> None:
    """One loop: ready when warm, then one turn for each line of input."""
    started = time.perf_counter()
    torch.set_num_threads(threads)
    config = solve(ModelSpec())
    step = CONTENDERS[name](config, BATCH_SIZE, precision)
    for _ in range(WARM_UP_STEPS):
        step()
    print(time.perf_counter() - started, flush=True)
    clock = time.process_time if processor_time else time.perf_counter
    for _ in sys.stdin:
        started = clock()
        for _ in range(steps):
            step()
        print(steps * BATCH_SIZE * config.context / (clock() - started), flush=True)


def _told(threads: int, precision: str) -> str:
    config = solve(ModelSpec())
    return (
        f"{parameter_table(config).total:,} parameters (width {config.d_model}, depth "
        f"{config.n_layers}), vocabulary {config.vocab_size:,}, {BATCH_SIZE} × {config.context} "
        f"tokens a step\n{torch.cpu.get_capabilities().get('cpu_name')}, {threads} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, {precision}, torch {torch.__version__}"
    )


def _print(laps: dict[str, Lap]) -> None:
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
