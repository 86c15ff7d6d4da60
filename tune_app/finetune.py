"""The command line of fine-tuning: python -m tune_app.finetune."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from data.counts import from_command_line
from tune_app.command_line import (
    asked_to_end,
    command_name,
    examples,
    lasting_console,
    run_command,
    version_text,
)

MODULE = "tune_app.finetune"
_NAME = command_name(MODULE)

app = App(
    name=_NAME,
    help="""Go on training an exported model on conversations.

    A line of the data is {"messages": [{"role": "user", "content": "…"}, {"role":
    "assistant", "content": "…"}]}; roles are system, user and assistant. They are
    written as ChatML, and only the assistant's tokens are learned. A line {"text":
    "…"} is a document all of which is learned. Several fit into one sequence and are
    masked from each other.

    An interrupted fine-tuning is resumed by the same command. The result is an
    export again.""",
    help_epilogue=examples(
        f"{_NAME} exports/wide --data conversations.jsonl",
        f"{_NAME} exports/wide --data train.jsonl --dev dev.jsonl",
    ),
    help_format="plaintext",
    version=version_text,
)

Count = Annotated[int, Parameter(converter=from_command_line, metavar="COUNT")]


@app.default
def finetune(
    name: Annotated[Path, Parameter(help="Folder of an export.")],
    *,
    data: Path,
    dev: Path | None = None,
    to: Path | None = None,
    epochs: float = 3.0,
    batch_size: Count = 8,
    learning_rate: float = 2e-3,
    schedule: str = "cosine",
    warmup_fraction: float = 0.05,
    weight_decay: float = 0.0,
    optimizer: str = "adamw",
    keep_optimizer: Annotated[bool, Parameter(negative="")] = False,
    evaluations: Count = 10,
    seed: int = 0,
    checkpoints: str = "runs/finetuned",
    checkpoint_every: float | None = None,
    threads: int = 1,
    device: str = "auto",
) -> int:
    """Fine-tune an export.

    Parameters
    ----------
    data
        Conversations as JSON lines.
    dev
        Conversations to score; default: those that are learned.
    to
        The new folder; default: beside the export, with -tuned behind its name.
    epochs
        How often each conversation is seen.
    batch_size
        Sequences per step; each holds as many conversations as fit.
    learning_rate
        Its peak, for the reference model, as in a sweep, where it is four times as high.
    schedule
        How it falls: cosine, or wsd (only in the last part).
    warmup_fraction
        Share of the training over which it rises.
    optimizer
        adamw or muon.
    keep_optimizer
        Go on with the optimiser's state in the export, and write it again.
    evaluations
        How often it is scored.
    seed
        Of the order.
    checkpoints
        Store to write checkpoints to and resume from: a folder, sftp://… or s3://….
    checkpoint_every
        Seconds between checkpoints; default: 2 to 15 minutes, by what a checkpoint costs.
    threads
        CPU threads.
    device
        auto (a GPU if there is one), cpu, cuda or mps.
    """
    from tune_app.devices import checked_device, use_threads  # noqa: PLC0415 - imports torch
    from tune_app.finetuning import run  # noqa: PLC0415
    from tune_app.finetuning.settings import FineTuneSettings  # noqa: PLC0415

    settings = FineTuneSettings(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule=schedule,
        warmup_fraction=warmup_fraction,
        weight_decay=weight_decay,
        optimizer=optimizer,
        evaluations=evaluations,
        seed=seed,
    )
    use_threads(threads)
    return run.finetune(
        name,
        run.FineTuneOptions(
            data=data,
            dev=dev,
            to=to,
            settings=settings,
            keep_optimizer=keep_optimizer,
            checkpoints=checkpoints,
            checkpoint_every=checkpoint_every,
            device=checked_device(device),
        ),
        console=lasting_console(),
        asked_to_end=asked_to_end,
    )


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    return run_command(app, MODULE)


if __name__ == "__main__":
    sys.exit(main())
