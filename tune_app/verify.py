"""The command line that checks a bundle: python -m tune_app.verify."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from data.display import progress_display
from tune_app.command_line import command_name, examples, run_command, version_text

MODULE = "tune_app.verify"
DIFFERS = 1
"""Exit code if something is not as the bundle says."""
_NAME = command_name(MODULE)
_GIB = 1 << 30

app = App(
    name=_NAME,
    help="""Check that a bundle says what its journals say, and that a cell trains as recorded.

    Recomputes every table and report from the journals, checks every hash, trains a
    cell's first steps again and compares its losses. Exit code 1, with the file and
    both values, at the first difference; 2 for what is not a bundle.""",
    help_epilogue=examples(
        f"{_NAME} bundles/quick.zip",
        f"{_NAME} bundles/quick.zip --cell '35% × 3' --evaluations 3",
        f"{_NAME} bundles/reviews.zip --corpus ~/reviews.jsonl:review",
    ),
    help_format="plaintext",
    version=version_text,
)


@app.default
def verify(
    path: Annotated[Path, Parameter(name="BUNDLE", help="The archive, or its unpacked folder.")],
    /,
    *,
    without_training: Annotated[bool, Parameter(negative="")] = False,
    sweep: str | None = None,
    cell: str | None = None,
    evaluations: int = 1,
    tolerance: float | None = None,
    device: str = "auto",
    threads: int = 1,
    corpus: str | None = None,
    largest: float = 4.0,
) -> int:
    """Check a bundle.

    Parameters
    ----------
    without_training
        Train nothing; check only numbers and hashes.
    sweep
        The sweep whose cell is trained again; default: the last one.
    cell
        Its label or key; default: the leader.
    evaluations
        Train as far as so many evaluations.
    tolerance
        Largest relative difference of a loss; default: 1e-4. 0 asks for equal bits.
    device
        Device to train on; auto is the first GPU if there is one.
    threads
        CPU threads; with another number than the sweep's the last bits differ.
    corpus
        Where the text is; default: where it was.
    largest
        GiB that the archive may have unpacked.
    """
    from tune_app.devices import checked_device, use_threads  # noqa: PLC0415 - imports torch
    from tune_app.reproduction.difference import Difference  # noqa: PLC0415
    from tune_app.reproduction.first_steps import TOLERANCE  # noqa: PLC0415
    from tune_app.reproduction.verification import Training, verify_bundle  # noqa: PLC0415

    console = Console(soft_wrap=True, highlight=False, markup=False)
    use_threads(threads)
    training = Training(
        sweep=sweep,
        cell=cell,
        evaluations=evaluations,
        tolerance=TOLERANCE if tolerance is None else tolerance,
        device=checked_device(device),
        corpus=corpus,
    )
    try:
        with progress_display(console) as report:
            verify_bundle(
                path.expanduser(),
                training=None if without_training else training,
                tell=lambda sentence: console.print(f"✓ {sentence}"),
                report=report,
                most_bytes=int(largest * _GIB),
            )
    except Difference as found:
        errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        errors.print(f"✗ {found}", style="red")
        return DIFFERS
    console.print(f"{path} is what it says")
    return 0


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    return run_command(app, MODULE)


if __name__ == "__main__":
    sys.exit(main())
