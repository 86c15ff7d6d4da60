"""A process that trains a few steps of one cell for a probe, at the same time as others.

    python -m tune_app.sweep.probed_cell < question

The question is a line of JSON: the cell's `values` and `solved` sizes, `device`, `threads`,
`seconds`, `cuda_graph`. The process makes the model, trains a few steps, scores as many sequences
as an evaluation does at once, and prints a line with its peak and the device's memory. At the next
line of input it trains for that long, and prints how many tokens and seconds that took. A process
that runs out of memory prints that in place of either line.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch

from model.evaluation.bits_per_byte import nats_by_token
from model.training import step_graph
from model.training.gpu_errors import told_by
from tune_app.devices import allocated_at_most, device_memory, use_threads
from tune_app.plan.cell import Cell
from tune_app.plan.solved import SolvedModels
from tune_app.sweep.estimate import random_batches, training_on_random_tokens
from tune_app.trial.data import sequences_at_once

PEAK, MEMORY, TOKENS, SECONDS = "peak_bytes", "memory_bytes", "tokens", "seconds"
OUT_OF_MEMORY: Mapping[str, bool] = {"out_of_memory": True}
WARM_UP = step_graph.WARM_UP + 1
"""Steps before anything is measured: in the first one the optimiser's state is made, in the last
one a CUDA graph."""


def answer(question: Mapping[str, Any]) -> None:
    """Trains, and prints what the module says."""
    device = question["device"]
    use_threads(question["threads"])
    training = training_on_random_tokens(
        Cell.from_values(question["values"]),
        SolvedModels.from_values(question["solved"]),
        device=device,
        cuda_graph=question["cuda_graph"],
    )
    for _ in range(WARM_UP):
        _ = training.step().loss
    # What a graph keeps for its steps is not free for an evaluation.
    at_once = sequences_at_once(device, context=training.config.context)
    batches = random_batches(training.config, batch_size=at_once)
    nats_by_token(training.model, [batches.batch(0)])
    _say({PEAK: allocated_at_most(device), MEMORY: device_memory(device)})
    sys.stdin.readline()
    before, started = training.tokens, time.perf_counter()
    while time.perf_counter() - started < question["seconds"]:
        # Read at once, so that the step has ended: else the host would be far ahead of the GPU.
        _ = training.step().loss
    _say({TOKENS: training.tokens - before, SECONDS: time.perf_counter() - started})


def _say(found: Mapping[str, Any]) -> None:
    print(json.dumps(found), flush=True)  # noqa: T201 - the probe reads it


def main() -> None:
    """Answers the question in the input."""
    question = json.loads(sys.stdin.readline())
    try:
        answer(question)
    except RuntimeError as error:
        # With many processes a GPU may have no memory even for what the driver needs of each.
        if not isinstance(told_by(error, device=question["device"]), torch.OutOfMemoryError):
            raise
        _say(OUT_OF_MEMORY)


if __name__ == "__main__":
    main()
