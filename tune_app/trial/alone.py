"""Trains one cell in this process and prints its progress."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from data.display import progress_display
from data.prepare import prepare
from data.prepared import PreparedCorpus
from data.tokenizers.spec import TokenizerSpec
from model.sizing.table import parameter_table
from tune_app.devices import checked_device, use_threads
from tune_app.plan.cell import Cell
from tune_app.stopping.divergence import diverged
from tune_app.stores.open import open_store
from tune_app.trial.checkpoint_interval import CheckpointTiming
from tune_app.trial.checkpoints import Checkpoints
from tune_app.trial.trial import Trial


def train_alone(
    cell: str,
    *,
    checkpoints: str | None,
    checkpoint_every: float | None,
    threads: int | None,
    device: str,
) -> int:
    """Trains a cell to its end; returns the exit code, 1 if it diverged.

    Args:
        cell: values as JSON, or the path of a .json file.
        checkpoints: URL of their store; None for none.
        checkpoint_every: seconds; None for the best interval.
        threads: CPU threads; None for all.
        device: `auto` for the first GPU if there is one.
    """
    if threads is not None:
        use_threads(threads)
    wanted = read_cell(cell)
    console = Console()

    def corpus(tokenizer: TokenizerSpec) -> PreparedCorpus:
        with progress_display(console) as report:
            return prepare(wanted.settings.corpus, tokenizer, report=report)

    store = None if checkpoints is None else open_store(checkpoints)
    if store is not None:
        store.check()
    trial = Trial(
        wanted,
        corpora=corpus,
        checkpoints=None
        if store is None
        else Checkpoints(store, cell=wanted.key, former_key=wanted.former_key),
        timing=CheckpointTiming(interval=checkpoint_every),
        device=checked_device(device),
    )
    console.print(parameter_table(trial.config).as_text(), markup=False, highlight=False)
    if trial.resumed_from:
        console.print(f"resumed at {trial.resumed_from:,} tokens")
    console.print(f"{'tokens':>12}{'dev bpb':>10}{'dev ppl':>10}{'train loss':>12}{'tokens/s':>10}")
    observation = None
    while not trial.finished:
        observation = trial.advance()
        assert observation is not None, "without a time limit there is always an observation"
        console.print(
            f"{observation.tokens:>12,}{observation.bits_per_byte:>10.4f}"
            f"{observation.perplexity:>10.2f}{observation.train_loss:>12.4f}"
            f"{observation.tokens_per_second:>10,.0f}",
            highlight=False,
        )
        if (kill := diverged(observation)) is not None:
            console.print(f"diverged: {kill.reason}", markup=False)
            trial.close()
            return 1
    trial.close()
    assert observation is not None, "even a finished trial repeats its last observation"
    console.print(
        f"full dev split: {observation.full_bits_per_byte:.4f} bits per byte, "
        f"perplexity {observation.full_perplexity:.2f}",
        highlight=False,
    )
    return 0


def read_cell(text: str) -> Cell:
    """A cell from JSON, or from a file of it. Raises ValueError saying what is wrong with it."""
    if text.endswith(".json"):
        text = Path(text).read_text("utf-8-sig")  # a BOM may be there
    try:
        values = json.loads(text, object_pairs_hook=_each_once)
    except ValueError as error:
        raise ValueError(f"the cell is not valid JSON ({error}): {text[:60]}") from error
    if not isinstance(values, dict):
        raise ValueError(f"the cell is {text[:60]}; it must be a JSON object")
    return Cell.from_values(values)


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError if a name is in it twice: the last one would win."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is given twice")
    return values
