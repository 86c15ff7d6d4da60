"""The command line of the learning-rate range finder: python -m tune_app.rates."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console

from tune_app.command_line import command_name, examples, run_command, version_text

if TYPE_CHECKING:
    from data.prepared import PreparedCorpus
    from data.tokenizers.spec import TokenizerSpec
    from tune_app.plan.cell import Cell

MODULE = "tune_app.rates"
_NAME = command_name(MODULE)

app = App(
    name=_NAME,
    help="""Find a learning rate in a few hundred steps.

    Trains one cell while its learning rate rises exponentially, draws the loss and
    suggests a rate with its reason. A rough guide: how much the suggestion is worth is
    seen by trying rates around it, as with NUISANCE in a space.""",
    help_epilogue=examples(
        f"{_NAME} quick",
        f"{_NAME} '{{\"target_parameters\": 4000000}}' --to 4M.png",
    ),
    help_format="plaintext",
    version=version_text,
)


@app.default
def rates(
    cell: Annotated[
        str,
        Parameter(help="Settings as JSON, the path to a .json file, or a space, for its baseline."),
    ] = "quick",
    *,
    low: float = 1e-5,
    high: float = 1.0,
    steps: int = 300,
    to: Path = Path("rates.png"),
    threads: int = 1,
    device: str = "auto",
) -> int:
    """Find a learning rate in a few hundred steps.

    Parameters
    ----------
    low
        Learning rate of the first step.
    high
        Learning rate of the last step.
    steps
        Steps in all; the run ends early once the loss is lost again.
    to
        The picture to write.
    threads
        CPU threads.
    device
        auto (a GPU if there is one), cpu, cuda, one of several GPUs as in cuda:1, or mps.
    """
    from data.display import progress_display  # noqa: PLC0415 - imports numpy
    from data.prepare import prepare  # noqa: PLC0415
    from tune_app.devices import checked_device, use_threads  # noqa: PLC0415 - imports torch
    from tune_app.rates.finder import rising, run_at_rising_rates  # noqa: PLC0415
    from tune_app.rates.picture import write_picture  # noqa: PLC0415 - imports matplotlib
    from tune_app.rates.suggestion import NoSuggestionError, suggest  # noqa: PLC0415

    if to.suffix.lower() != ".png":
        raise ValueError(f"the picture {str(to)!r} is not a .png file; name one: --to picture.png")
    planned = rising(low, high, steps=steps)
    wanted, device = _cell(cell), checked_device(device)
    use_threads(threads)
    console = Console()

    def corpora(tokenizer: TokenizerSpec) -> PreparedCorpus:
        with progress_display(console) as report:
            return prepare(wanted.settings.corpus, tokenizer, report=report)

    with console.status("training …") as status:
        run = run_at_rising_rates(
            wanted,
            corpora=corpora,
            rates=planned,
            device=device,
            seen=lambda step: status.update(f"step {step} of {steps}"),
        )
    found, why = None, ""
    try:
        found = suggest(run.rates, run.losses)
    except NoSuggestionError as error:
        why = str(error)
    title = (
        f"{len(run.rates)} steps of {wanted.settings.batch_size} × {wanted.model.context} tokens"
    )
    write_picture(run, found, to.expanduser(), title=title)
    lines = [f"{title}, rates {run.rates[0]:.2g} to {run.rates[-1]:.2g}"]
    lines += [f"ended early: {run.ended}"] if run.ended else []
    lines += [f"no suggestion: {why}"] if found is None else []
    if found is not None:
        now = wanted.settings.learning_rate
        lines += [f"suggested learning rate: {found.rate:.2g} (the cell has {now:g})"]
        lines += [f"because {found.reason}"]
    lines += [f"picture: {to}"]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    return int(found is None)


def _cell(text: str) -> Cell:
    """A cell from JSON, or the baseline of a space."""
    from tune_app.plan.cell import Cell  # noqa: PLC0415 - imports numpy
    from tune_app.plan.plan import make_plan  # noqa: PLC0415
    from tune_app.plan.space_file import load_space  # noqa: PLC0415
    from tune_app.plan.wishes import Wishes  # noqa: PLC0415
    from tune_app.trial.alone import read_cell  # noqa: PLC0415 - imports torch

    if text.lstrip().startswith("{") or text.endswith(".json"):
        return read_cell(text)
    return Cell.from_values(make_plan(load_space(text), Wishes()).baseline.values)


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    return run_command(app, MODULE)


if __name__ == "__main__":
    sys.exit(main())
