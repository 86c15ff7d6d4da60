"""How fast a 10M model continues a text on this machine, with its cache and without.

The model has the sizes of the baseline and random weights. Both take turns; figures are medians
over rounds, ratios are taken within a round.

python -m benchmarks.generation --rounds 5
"""

from __future__ import annotations

import statistics
import time

import torch
from cyclopts import App

from model.evaluation.latency import measure_latency
from model.generation.decoding import continued
from model.generation.sampling import Sampling
from model.mup import Scales
from model.network.transformer import Transformer
from model.sizing.budget import solve
from model.sizing.table import parameter_table
from model.spec import ModelSpec

app = App(name="python -m benchmarks.generation", help=__doc__, version_flags=[])


@app.default
def compare(*, rounds: int = 5, tokens: int = 200, runs: int = 1_000, threads: int = 1) -> None:
    """Continue a text and print the speeds.

    Parameters
    ----------
    rounds
        Turns with and without the cache.
    tokens
        That each turn makes, behind a prompt of 20.
    runs
        Timed for the latency of one token.
    threads
        CPU threads.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = solve(ModelSpec())
    model = Transformer(config, scales=Scales.own(config)).eval()
    speeds: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for _ in range(rounds):
        for cached, found in speeds.items():
            found.append(_speed(model, tokens, cached=cached))
    print(
        f"{parameter_table(config).total:,} parameters, vocabulary {config.vocab_size:,}, "
        f"{threads} threads, torch {torch.__version__}; {rounds} rounds of {tokens} tokens"
    )
    for cached, found in speeds.items():
        wall, cpu = zip(*found, strict=True)
        print(
            f"{'with' if cached else 'without'} the cache: {statistics.median(wall):,.1f} tokens/s "
            f"({min(wall):,.1f}-{max(wall):,.1f}); {statistics.median(cpu):,.1f} "
            f"({min(cpu):,.1f}-{max(cpu):,.1f}) a second of CPU time"
        )
    ratios = [one[1] / other[1] for one, other in zip(speeds[True], speeds[False], strict=True)]
    print(f"the cache is {statistics.median(ratios):.1f} times as fast")
    for length in (128, 512):
        if length < config.context:
            found_here = measure_latency(model, length, runs=runs)
            for name, times in (("read", found_here.prefill), ("next token", found_here.decode)):
                print(
                    f"{name} at {length} tokens: median {1e3 * times.median:.2f} ms, "
                    f"p95 {1e3 * times.p95:.2f} ms, p99 {1e3 * times.p99:.2f} ms of {runs:,} runs"
                )


def _speed(model: Transformer, tokens: int, *, cached: bool) -> tuple[float, float]:
    """Tokens per second, and per second of CPU time, which other processes do not lengthen."""
    prompt = list(range(20))
    started, cpu_started = time.perf_counter(), time.process_time()
    made = sum(1 for _ in continued(model, prompt, sampling=Sampling(), most=tokens, cached=cached))
    cpu_seconds = time.process_time() - cpu_started
    return made / (time.perf_counter() - started), made / cpu_seconds


if __name__ == "__main__":
    app()
