"""The command line that packs a sweep for others to repeat: python -m tune_app.bundle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from data.display import progress_display
from tune_app import formats
from tune_app.command_line import command_name, examples, run_command, version_text

MODULE = "tune_app.bundle"
_NAME = command_name(MODULE)

app = App(
    name=_NAME,
    help="""Pack a sweep into one archive from which anyone can repeat it.

    It has the journal, the reports, cells, tokenizers, hashes of the data, versions,
    hardware and the exact commands; neither the text nor the checkpoints. Paths and
    names of hosts are in it, as the journal has them: look before you publish.""",
    help_epilogue=examples(f"{_NAME} quick", f"{_NAME} quick --to quick.zip"),
    help_format="plaintext",
    version=version_text,
)


@app.default
def bundle(
    name: Annotated[
        str, Parameter(help="Name of the sweep, or the path of its folder, or of several sweeps'.")
    ],
    *,
    to: Path | None = None,
    results: Annotated[Path, Parameter(help="Folder that holds all sweeps.")] = Path("runs"),
) -> int:
    """Pack a sweep.

    Parameters
    ----------
    to
        The archive; default: bundles/NAME.zip.
    """
    from tune_app.reproduction.bundling import sweeps_in, write_bundle  # noqa: PLC0415 - torch

    console = Console(soft_wrap=True, highlight=False, markup=False)
    told, folders = sweeps_in(name, results.expanduser())
    archive = (to or Path("bundles") / f"{told}.zip").expanduser()
    with progress_display(console) as report:
        done = write_bundle(told, folders, archive, report=report)
    for warning in done.warnings:
        console.print(f"note: {warning}")
    console.print(
        f"{done.path}: {formats.size(done.bytes)}, {formats.counted(len(done.sweeps), 'sweep')}\n"
        f"SHA-256 {done.sha256}\n"
        f"`python -m tune_app.verify {done.path}` checks it"
    )
    return 0


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    return run_command(app, MODULE)


if __name__ == "__main__":
    sys.exit(main())
