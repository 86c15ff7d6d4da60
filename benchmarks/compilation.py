"""How long the 10M baseline takes to compile: as a whole, by block, and with stored code.

Each in a process of its own, one after the other, with an empty Inductor folder. Figures are wall
seconds: of the first forward and backward pass, which include running it once, of the same for the
next seed, and of a step after that.

python -m benchmarks.compilation --rounds 1
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from cyclopts import App

from benchmarks.contenders import random_batches
from model.sizing.budget import solve
from model.spec import ModelSpec
from model.training import compiler
from model.training.compiler import Compiler
from model.training.settings import TrainingConfig
from model.training.training import Training
from tune_app.trial.shipped_code import ShippedCode, shipped_code

BATCH_SIZE = 8
WAYS = ("whole", "block")

app = App(name="python -m benchmarks.compilation", help=__doc__, version_flags=[])


@app.default
def compare(*, rounds: int = 1, steps: int = 10, threads: int = 1) -> None:
    """Compile in each way, and again with the code that the first process stored."""
    print(f"torch {torch.__version__}, {threads} threads, {BATCH_SIZE} sequences a step")
    for number in range(rounds):
        for way in WAYS:
            with tempfile.TemporaryDirectory() as folder:
                for process in ("first", "second"):
                    found = _run(way, Path(folder), process, steps, threads)
                    print(f"round {number} {way:6}{process:7}", json.dumps(found), flush=True)


def _run(way: str, folder: Path, process: str, steps: int, threads: int) -> dict[str, float]:
    done = subprocess.run(
        [
            sys.executable,
            *("-m", "benchmarks.compilation", "worker", way, str(folder / "store")),
            *(str(steps), str(threads)),
        ],
        env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(folder / process)},
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@app.command(show=False)
def worker(way: str, store: str, steps: int, threads: int) -> None:
    """One process: compiles the baseline, its next seed, and says how long that took."""
    torch.set_num_threads(threads)
    if way == "whole":
        compiler.by_block = lambda config, *, device: False
    code = shipped_code(store, "on")
    assert isinstance(code, ShippedCode)
    both = Compiler(code)
    config = solve(ModelSpec())
    found: dict[str, float] = {}
    for name, seed in (("compile", 0), ("next_seed", 1)):
        training = Training(
            config,
            TrainingConfig(tokens=10**12, batch_size=BATCH_SIZE, compile="on", seed=seed),
            random_batches(config, BATCH_SIZE),
            baseline=config,
            compiler=both,
        )
        training.step()
        found[name] = round(training.compile_seconds, 1)
        seconds = []
        for _ in range(steps):
            started = time.perf_counter()
            training.step()
            seconds.append(time.perf_counter() - started)
        found["step"] = round(median(seconds), 3)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    app()
