"""The command line of one trial: python -m tune_app.trial."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cyclopts import App
from rich.console import Console

from data.display import progress_display
from data.prepare import prepare
from data.prepared import PreparedCorpus
from data.tokenizers.spec import TokenizerSpec
from model.sizing.table import parameter_table
from tune_app.command_line import command_name, run_command
from tune_app.devices import checked_device, default_device, use_threads
from tune_app.plan.cell import Cell
from tune_app.stopping.divergence import diverged
from tune_app.stores.open import open_store
from tune_app.trial.checkpoint_interval import CheckpointTiming
from tune_app.trial.checkpoints import Checkpoints
from tune_app.trial.trial import Trial

MODULE = "tune_app.trial"
_NAME = command_name(MODULE)

app = App(
    name=_NAME,
    help=f"""Train one cell from start to end, without Ray.

    A cell is JSON: any of the values of a model (embedding_ratio, glu_expansion, embedding,
    feed_forward, target_parameters, vocab_size, n_heads, context), of its training (tokens,
    batch_size, learning_rate, schedule, warmup_fraction, weight_decay, betas, gradient_clip,
    precision, compile, deterministic), of its scores (corpus, evaluations, evaluation_bytes) and
    the seed.
    What it leaves out takes its default.

    Examples:

    {_NAME} '{{"embedding_ratio": 0.45, "glu_expansion": 4.0, "tokens": 300000}}'

    {_NAME} '{{"corpus": "wikitext-2"}}' --checkpoints my_trial --threads 2""",
    help_format="plaintext",
    version_flags=[],
)


@app.default
def train(
    cell: str = "{}",
    *,
    checkpoints: str | None = None,
    checkpoint_every: float | None = None,
    threads: int | None = None,
    device: str | None = None,
) -> int:
    """Train one cell.

    Parameters
    ----------
    cell
        Values as JSON, or the path of a .json file.
    checkpoints
        Where checkpoints are kept, and resumed from: a folder, sftp://user@host/path, s3://bucket.
    checkpoint_every
        Seconds; default the best for what a checkpoint costs, from 2 to 15 minutes.
    threads
        CPU threads; default all.
    device
        cpu, cuda, …; default the first GPU where there is one.
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
        checkpoints=None if store is None else Checkpoints(store, cell=wanted.key),
        timing=CheckpointTiming(interval=checkpoint_every),
        device=checked_device(device) if device else default_device(),
    )
    console.print(parameter_table(trial.config).as_text(), markup=False, highlight=False)
    if trial.resumed_from:
        console.print(f"resumed at {trial.resumed_from:,} tokens")
    console.print(f"{'tokens':>12}{'dev bpb':>10}{'dev ppl':>10}{'train loss':>12}{'tokens/s':>10}")
    observation = None
    while not trial.finished:
        observation = trial.advance()
        assert observation is not None, "there is no limit of time"
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
        text = Path(text).read_text("utf-8")
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ValueError(f"the cell is no JSON ({error}): {text[:60]}") from error
    if not isinstance(values, dict):
        raise ValueError(f"the cell is {text[:60]}; it must be a JSON object")
    return Cell.from_values(values)


def main() -> int:
    """Runs the command line of this process; its exit code."""
    return run_command(app, MODULE)


if __name__ == "__main__":
    sys.exit(main())
