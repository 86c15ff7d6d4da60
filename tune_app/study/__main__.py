"""The command line of a study.

python -m tune_app.study [FILE]           run a study, or continue it
python -m tune_app.study plan [FILE]      show its phases and what they cost at most
python -m tune_app.study report [FILE]    rewrite its report from its journals
"""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import App, Parameter

from tune_app.cluster.options import RunOptions
from tune_app.command_line import (
    command_name,
    ended_by_signals,
    examples,
    lasting_console,
    own_arguments,
    repeated,
    run_command,
    version_text,
)

MODULE = "tune_app.study"
_NAME = command_name(MODULE)

app = App(
    name=_NAME,
    help="""Run sweeps in phases, each decided by the one before, up to a verdict.

    The first phase measures the seeds' noise, the next ones rank designs, and the
    last ones repeat the best on fresh seeds. Repeat the command to continue an
    interrupted study.""",
    help_epilogue=examples(
        _NAME, f"{_NAME} plan quick", f"{_NAME} my_study.toml --results /data/runs"
    ),
    help_format="plaintext",
    version=version_text,
)

_OPTIONS = RunOptions()
File = Annotated[str, Parameter(help="The study: quick, or the path of a .toml file.")]


@app.default
def run(file: File = "quick", *, options: RunOptions = _OPTIONS) -> int:
    """Run a study, or continue the one with this name."""
    from tune_app.study.file import load_study  # noqa: PLC0415 - imports numpy

    study = load_study(file)
    command = repeated(MODULE, own_arguments())
    from tune_app.study.planned import cells_at_once, timed_on  # noqa: PLC0415 - imports torch
    from tune_app.study.run import run_study  # noqa: PLC0415

    daemon = None
    if options.on_a_cluster:
        from tune_app.cloud.daemon.client import daemon_here  # noqa: PLC0415

        daemon = daemon_here()
    with ended_by_signals():
        return run_study(
            study,
            options,
            console=lasting_console(),
            command=command,
            timed=timed_on(options),
            at_once=cells_at_once(options),
            daemon=daemon,
        )


@app.command(sort_key=1, help_epilogue=examples(f"{_NAME} plan quick"))
def plan(file: File = "quick", *, options: RunOptions = _OPTIONS) -> int:
    """Show the phases of a study and what they cost at most, without running it.

    Checks the study and its budget, and times a few training steps on this machine.
    """
    from tune_app.study.file import load_study  # noqa: PLC0415 - imports numpy

    study = load_study(file)
    from tune_app.study.planned import show_plan  # noqa: PLC0415 - imports torch

    show_plan(study, options, console=lasting_console())
    return 0


@app.command(sort_key=2, help_epilogue=examples(f"{_NAME} report quick"))
def report(file: File = "quick", *, options: RunOptions = _OPTIONS) -> int:
    """Rewrite the report of a study from its journals alone."""
    from tune_app.study.file import load_study  # noqa: PLC0415 - imports numpy
    from tune_app.study.report import write_report  # noqa: PLC0415
    from tune_app.study.run import read_study  # noqa: PLC0415 - imports torch

    study = load_study(file)
    folder = options.results / study.name
    found = read_study(study, folder)
    if not found.phases:
        raise ValueError(f"there is no study in {folder}; start it with: {_NAME} {file}")
    told = write_report(study, found, folder)
    lasting_console().print(told, markup=False, highlight=False, soft_wrap=True)
    return 0


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    return run_command(app, MODULE)


if __name__ == "__main__":
    sys.exit(main())
