"""The command line of the overfit mode: python -m tune_app.overfit."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console

from tune_app.command_line import command_name, examples, run_command, version_text

if TYPE_CHECKING:
    from data.prepared import PreparedCorpus
    from data.tokenizers.spec import TokenizerSpec

MODULE = "tune_app.overfit"
_NAME = command_name(MODULE)

app = App(
    name=_NAME,
    help="""Check that a cell can learn at all.

    Trains it on a few thousand tokens again and again, until it knows them by heart.
    If it does not get there, something is broken: the numbers are printed, and the exit
    code is 1.""",
    help_epilogue=examples(
        f"{_NAME} '{{\"target_parameters\": 4000000}}'",
        f"{_NAME} cell.json --tokens 4096 --below 0.05",
    ),
    help_format="plaintext",
    version=version_text,
)


@app.default
def overfit(
    cell: Annotated[str, Parameter(help="Settings as JSON, or the path to a .json file.")],
    *,
    tokens: int = 2_048,
    steps: int = 400,
    below: float = 0.1,
    threads: int = 1,
    device: str = "auto",
) -> int:
    """Check that a cell can learn at all.

    Parameters
    ----------
    tokens
        Length of the text, rounded to whole steps of the cell.
    steps
        Training steps at most.
    below
        Mean loss of a pass, in nats per token, at which the text counts as learned.
    threads
        CPU threads.
    device
        auto (a GPU if there is one), cpu, cuda, one of several GPUs as in cuda:1, or mps.
    """
    from data.display import progress_display  # noqa: PLC0415 - imports numpy
    from data.prepare import prepare  # noqa: PLC0415
    from tune_app.devices import checked_device, use_threads  # noqa: PLC0415 - imports torch
    from tune_app.trial.alone import read_cell  # noqa: PLC0415
    from tune_app.trial.overfitting import overfit as learn_by_heart  # noqa: PLC0415

    wanted, device = read_cell(cell), checked_device(device)
    use_threads(threads)
    console = Console()

    def corpora(tokenizer: TokenizerSpec) -> PreparedCorpus:
        with progress_display(console) as report:
            return prepare(wanted.settings.corpus, tokenizer, report=report)

    with console.status("training …"):
        found = learn_by_heart(
            wanted, corpora=corpora, tokens=tokens, steps=steps, below=below, device=device
        )
    console.print(found.told, markup=False, highlight=False, soft_wrap=True)
    return int(not found.learned)


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    return run_command(app, MODULE)


if __name__ == "__main__":
    sys.exit(main())
