"""Time spent on evaluation over time spent on training, for the baseline of `quick`.

Steps and evaluations take turns in one process; shares are of CPU time within a round.

python -m benchmarks.evaluation_share --rounds 3
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from cyclopts import App

from data.prepare import prepare
from model.evaluation.bits_per_byte import evaluate
from search_spaces import quick
from tune_app.plan.cell import Cell
from tune_app.trial.data import sample_of
from tune_app.trial.sample import score_sample
from tune_app.trial.trial import Trial

STEPS = 10
SCHEDULES = ((20, 32_768), (20, 16_384), (8, 32_768), (8, 16_384))
"""Evaluations and bytes of the sample."""

app = App(name="python -m benchmarks.evaluation_share", help=__doc__, version_flags=[])


@app.default
def main(*, rounds: int = 3) -> None:
    """Print the shares of several schedules, and that of the whole split at the end."""
    torch.set_num_threads(1)
    cell = Cell.from_values({**quick.FIXED, "compile": "off"})
    corpus = prepare("stdlib", cell.tokenizer)
    trial = Trial(cell, corpora=lambda tokenizer: corpus)
    training, full = trial._training, trial._data.full
    samples = {
        size: sample_of(corpus, context=cell.model.context, max_bytes=size)
        for size in sorted({size for _, size in SCHEDULES})
    }
    steps = trial._data.tokens / (cell.settings.batch_size * cell.model.context)
    training.step()
    found: dict[tuple[int, int], list[float]] = {one: [] for one in SCHEDULES}
    whole = []
    for _ in range(rounds):
        train = _seconds(lambda: [training.step() for _ in range(STEPS)]) / STEPS * steps
        cost = {
            size: _seconds(lambda sample=sample: score_sample(training.model, sample))
            for size, sample in samples.items()
        }
        whole.append(_seconds(lambda: evaluate(training.model, full)) / train)
        for number, size in SCHEDULES:
            found[number, size].append(number * cost[size] / train)
    for (number, size), shares in found.items():
        print(f"{number} evaluations of {size:,} bytes: {_told(shares)} of training")
    print(f"the whole split once, at the end: {_told(whole)} of training")


def _told(shares: list[float]) -> str:
    return f"{median(shares):.1%} ({min(shares):.1%}–{max(shares):.1%})"


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    app()
