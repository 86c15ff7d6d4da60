"""Trains one cell in this process, prints its progress and keeps its model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from data.display import progress_display
from data.prepare import prepare
from data.prepared import PreparedCorpus
from data.tokenizers.spec import TokenizerSpec
from model.sizing.table import parameter_table
from model.training.compilation import CompilationError
from model.training.compiler import Compiler
from model.training.step_graph import require_graphs
from tune_app.devices import checked_device, use_threads
from tune_app.journal.records import Observation
from tune_app.plan.budget import TrainTokens, with_tokens
from tune_app.plan.cell import Cell
from tune_app.stopping.divergence import diverged
from tune_app.stores.open import below, open_store
from tune_app.trial.checkpoint_interval import CheckpointTiming
from tune_app.trial.checkpoints import Checkpoints
from tune_app.trial.places import DEFAULT_STORE
from tune_app.trial.shipped_code import shipped_code
from tune_app.trial.tokenizer_files import keep_tokenizer
from tune_app.trial.trial import Trial

_SLICE_SECONDS = 0.5
"""Longest training between two looks at whether it is asked to end."""


def _never() -> AbstractContextManager[Callable[[], bool]]:
    return nullcontext(lambda: False)


def train_alone(
    cell: str,
    *,
    checkpoints: str = DEFAULT_STORE,
    checkpoint_every: float | None = None,
    keep_checkpoints: int | None = None,
    keep_best: int = 1,
    threads: int = 1,
    device: str = "auto",
    processes: int = 1,
    cuda_graph: bool = False,
    asked_to_end: Callable[[], AbstractContextManager[Callable[[], bool]]] = _never,
) -> int:
    """Trains a cell to its end; returns the exit code, 1 if it diverged.

    A cell with checkpoints in the store continues from its newest.

    Args:
        cell: values as JSON, or the path of a .json file.
        checkpoints: URL of their store.
        checkpoint_every: seconds; None for the best interval.
        keep_checkpoints: how many of the newest; None for two, and then only the last.
        keep_best: how many of the best by dev bits per byte as well.
        threads: CPU threads. One by default: more are slower where something else runs.
        device: `auto` for the first GPU if there is one.
        processes: how many train the cell together, with `threads` each; on GPUs each has one.
        cuda_graph: whether a step is started as one CUDA graph.
        asked_to_end: entered while the cell trains; yields whether to save and end now.

    Raises KeyboardInterrupt, once the cell is saved, if asked to end; ValueError for what cannot be
    trained so.
    """
    use_threads(threads)
    device = checked_device(device)
    if cuda_graph:
        require_graphs(device, processes=processes)
    console = Console()

    def train_tokens(name: str, tokenizer: TokenizerSpec) -> int:
        with progress_display(console) as report:
            return prepare(name, tokenizer, report=report).manifest.splits["train"].tokens

    wanted = read_cell(cell, train_tokens=train_tokens)
    store = open_store(checkpoints)
    store.check()

    def corpus(tokenizer: TokenizerSpec) -> PreparedCorpus:
        with progress_display(console) as report:
            prepared = prepare(wanted.settings.corpus, tokenizer, report=report)
        keep_tokenizer(prepared, store)
        return prepared

    try:
        trial = Trial(
            wanted,
            corpora=corpus,
            checkpoints=Checkpoints(
                store,
                cell=wanted.key,
                former_key=wanted.former_key,
                keep=keep_checkpoints,
                keep_best=keep_best,
            ),
            timing=CheckpointTiming(interval=checkpoint_every),
            device=device,
            compiler=Compiler(shipped_code(checkpoints, "auto")),
            processes=processes,
            cuda_graph=cuda_graph,
        )
    except CompilationError as error:
        raise ValueError(str(error)) from error
    try:
        with asked_to_end() as asked:
            return _train(trial, console, store=checkpoints, asked_to_end=asked)
    finally:
        trial.close()
        store.close()


def _train(trial: Trial, console: Console, *, store: str, asked_to_end: Callable[[], bool]) -> int:
    console.print(parameter_table(trial.config).as_text(), markup=False, highlight=False)
    if trial.trained:
        console.print("This cell is trained already; its last evaluation was:")
    elif trial.resumed_from:
        console.print(f"resumed at {trial.resumed_from:,} tokens", highlight=False)
    console.print(f"{'tokens':>12}{'dev bpb':>10}{'dev ppl':>10}{'train loss':>12}{'tokens/s':>10}")
    observation = None
    while not trial.finished:
        if (seen := trial.advance(at_most=_SLICE_SECONDS)) is not None:
            observation = seen
            console.print(_line(seen), highlight=False)
            if (kill := diverged(seen)) is not None:
                console.print(f"diverged: {kill.reason}", markup=False)
                return 1
        if asked_to_end() and not trial.finished:
            console.print("saving …", style="dim")
            trial.save()
            raise KeyboardInterrupt
    assert observation is not None, "even a finished trial repeats its last observation"
    console.print(
        f"full dev split: {observation.full_bits_per_byte:.4f} bits per byte, "
        f"perplexity {observation.full_perplexity:.2f}",
        highlight=False,
    )
    if trial.stored is not None:
        console.print(
            f"The trained model is in {below(store, trial.stored)}\n"
            "`from tune_app import load_model` reads it; the same command trains nothing again.",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    return 0


def _line(observation: Observation) -> str:
    return (
        f"{observation.tokens:>12,}{observation.bits_per_byte:>10.4f}"
        f"{observation.perplexity:>10.2f}{observation.train_loss:>12.4f}"
        f"{observation.tokens_per_second:>10,.0f}"
    )


def read_cell(text: str, *, train_tokens: TrainTokens | None = None) -> Cell:
    """A cell from JSON, or from a file of it. Raises ValueError saying what is wrong with it.

    train_tokens: counts the training text, for a length in epochs; None refuses one.
    """
    if text.endswith(".json"):
        text = _content(Path(text))
    try:
        values = json.loads(text, object_pairs_hook=_each_once)
    except ValueError as error:
        raise ValueError(f"the cell is not valid JSON ({error}): {text[:60]}") from error
    if not isinstance(values, dict):
        raise ValueError(f"the cell is {text[:60]}; it must be a JSON object")
    return Cell.from_values(with_tokens(values, train_tokens=train_tokens))


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")  # a BOM may be there
    except OSError as error:
        raise ValueError(
            f"the cell's file {path} cannot be read ({error.strerror}); give the path of a .json "
            "file, or the settings themselves as JSON"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the cell's file {path} is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from error


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError if a name is in it twice: the last one would win."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is given twice")
    return values
