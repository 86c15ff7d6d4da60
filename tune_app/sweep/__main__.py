"""The command line of a sweep.

python -m tune_app.sweep [SPACE]         run a sweep, or continue it
python -m tune_app.sweep plan [SPACE]    show what would run, without running it
python -m tune_app.sweep status [NAME]   show the progress of a sweep
python -m tune_app.sweep report [NAME]   rewrite its results from the journal
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App
from rich.console import Console

from tune_app.cluster.options import RunOptions
from tune_app.command_line import (
    command_name,
    ended_by_signals,
    lasting_console,
    own_arguments,
    repeated,
    run_command,
)
from tune_app.plan.wishes import Wishes

if TYPE_CHECKING:
    from tune_app.plan.plan import SweepPlan
    from tune_app.stopping.all_rules import StoppingRules

MODULE = "tune_app.sweep"
_NAME = command_name(MODULE)

app = App(
    name=_NAME,
    help=f"""Find how a small language model should spend its parameters.

    Trains every cell of a search space at one parameter budget, stops cells that
    fall behind, and writes tables, plots and a report. Repeat the command to
    continue an interrupted sweep.

    For example:

    {_NAME}

    {_NAME} plan embedding_glu --corpus wikitext-103

    {_NAME} embedding_glu --corpus wikitext-103 --tokens 20M --gpus 1

    {_NAME} my_space.py --name mine --seeds 0 --seeds 1 --set learning_rate=2e-3

    {_NAME} status mine""",
    help_format="plaintext",
    version_flags=[],
)

_WISHES = Wishes()
_OPTIONS = RunOptions()


@app.default
def run(space: str = "quick", *, wishes: Wishes = _WISHES, options: RunOptions = _OPTIONS) -> int:
    """Run a sweep, or continue the one with this name.

    Parameters
    ----------
    space
        quick, embedding, glu, embedding_glu, or the path to a .py file.
    """
    from tune_app.sweep.run import run_sweep  # noqa: PLC0415 - imports torch

    command = repeated(MODULE, own_arguments())
    with ended_by_signals():
        planned, rules = _plan(space, wishes)
        return run_sweep(planned, rules, options, console=lasting_console(), command=command)


@app.command
def plan(space: str = "quick", *, wishes: Wishes = _WISHES, cpus: int = 1) -> int:
    """Show what would run: cells, solved models, tokens, expected time and memory.

    Parameters
    ----------
    space
        quick, embedding, glu, embedding_glu, or the path to a .py file.
    cpus
        CPUs per cell, for the time estimate.
    """
    from tune_app.sweep.estimate import plan_rows  # noqa: PLC0415 - imports torch
    from tune_app.terminal.tables import plan_table  # noqa: PLC0415

    console = Console()
    planned, _ = _plan(space, wishes)
    with console.status("timing a few training steps of the baseline on this machine"):
        rows = plan_rows(planned, threads=cpus)
    console.print(plan_table(rows))
    return 0


@app.command
def status(name: str = "quick", *, results: Path = Path("runs")) -> int:
    """Show the progress of a sweep, while it runs or afterwards.

    Parameters
    ----------
    name
        Name of the sweep.
    results
        Folder that holds all sweeps.
    """
    from tune_app.terminal.tables import status_table  # noqa: PLC0415

    with _open(name, results) as journal:
        Console().print(status_table(journal))
    return 0


@app.command
def report(name: str = "quick", *, results: Path = Path("runs"), to: Path | None = None) -> int:
    """Rewrite the results of a sweep from its journal alone.

    Parameters
    ----------
    name
        Name of the sweep.
    results
        Folder that holds all sweeps.
    to
        Folder to write the results to; by default the sweep's own.
    """
    from tune_app.results.whole_files import require_writable  # noqa: PLC0415
    from tune_app.terminal.tables import summary  # noqa: PLC0415

    own = results / name
    with _open(name, results) as journal, ended_by_signals():
        try:
            require_writable(to or own)
        except OSError as error:
            raise ValueError(
                f"{to or own} cannot be written ({error.strerror}); choose another folder for the "
                f"results with --to, or see them with {_NAME} status {name}"
            ) from error
        from tune_app.results.write import write_results  # noqa: PLC0415 - imports matplotlib

        write_results(journal, to or own, live=to is None and journal.is_driven)
        Console().print(summary(journal, to or own))
    return 0


def _plan(space: str, wishes: Wishes) -> tuple[SweepPlan, StoppingRules]:
    """The plan of a sweep, and its stopping rules."""
    from tune_app.plan.plan import make_plan  # noqa: PLC0415 - imports numpy
    from tune_app.plan.space import load_space  # noqa: PLC0415
    from tune_app.stopping.sweep_rules import planned_rules  # noqa: PLC0415

    loaded = load_space(space)
    planned = make_plan(loaded, wishes)
    return planned, planned_rules(loaded, wishes, tokens=planned.tokens)


def _open(name: str, results: Path) -> Any:
    from tune_app.journal.journal import Journal  # noqa: PLC0415
    from tune_app.sweep.folder import JOURNAL  # noqa: PLC0415

    return Journal.open(results / name / JOURNAL, read_only=True)


if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
