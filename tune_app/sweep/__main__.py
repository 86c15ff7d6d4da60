"""The command line of a sweep.

python -m tune_app.sweep [SPACE]         run a sweep, or continue it
python -m tune_app.sweep plan [SPACE]    what would run, without running it
python -m tune_app.sweep status [NAME]   how far a sweep is
python -m tune_app.sweep report [NAME]   write its results anew from the journal
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Group, Parameter, Token
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

if TYPE_CHECKING:
    from tune_app.plan.plan import SweepPlan
    from tune_app.stopping.table import StoppingRules

MODULE = "tune_app.sweep"
_NAME = command_name(MODULE)

app = App(
    name=_NAME,
    help=f"""Find how a small language model should spend its parameters.

    Trains every cell of a search space at one parameter budget, stops the ones that fall behind,
    and writes tables, plots and a report. The same command again continues a sweep that was
    interrupted.

    Examples:

    {_NAME}

    {_NAME} plan embedding_glu --corpus wikitext-103

    {_NAME} embedding_glu --corpus wikitext-103 --tokens 20M --gpus 1

    {_NAME} my_space.py --name mine --seeds 0 --seeds 1 --set learning_rate=2e-3

    {_NAME} status mine""",
    help_format="plaintext",
    version_flags=[],
)

_WHAT = Group("What to train", sort_key=1)
_RULES = Group("What to stop", sort_key=2)

_MULTIPLES = {"k": 1_000, "m": 1_000_000, "b": 1_000_000_000}


def _whole(_: Any, tokens: Sequence[Token]) -> int:
    """A whole number as people write it: 150000, 150k, 5M."""
    text = tokens[0].value.strip().lower().replace("_", "").replace(",", "")
    factor = _MULTIPLES.get(text[-1:], 1)
    number = float(text[:-1] if factor > 1 else text) * factor
    if not number.is_integer():
        raise ValueError(f"{tokens[0].value} is no whole number")
    return int(number)


Count = Annotated[int | None, Parameter(converter=_whole)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """What a sweep is; the space says what is left out."""

    name: Annotated[str | None, Parameter(group=_WHAT)] = None
    """Of the sweep and its folder; default the space's name."""
    corpus: Annotated[str | None, Parameter(group=_WHAT)] = None
    """A name (stdlib, wikitext-2, wikitext-103, tinystories, hf:owner/name) or a path."""
    target_parameters: Annotated[Count, Parameter(group=_WHAT)] = None
    """Parameters of every model, ± 0.5 %, e.g. 10M."""
    vocab_size: Annotated[Count, Parameter(name=["--vocab-size", "--vocabulary"], group=_WHAT)] = (
        None
    )
    """Tokens of the tokenizer."""
    tokens: Annotated[Count, Parameter(group=_WHAT)] = None
    """Tokens to train a cell on, e.g. 5M."""
    seeds: Annotated[tuple[int, ...], Parameter(group=_WHAT)] = (0,)
    """One cell a seed; repeat the option."""
    set: Annotated[tuple[str, ...], Parameter(group=_WHAT, negative="")] = ()
    """Any other value of a cell, as name=value, e.g. learning_rate=2e-3; repeat the option."""
    scheduler: Annotated[str, Parameter(group=_RULES)] = "asha"
    """Which rule stops the worse cells by their rank: asha at its rungs, or none."""
    scheduler_set: Annotated[tuple[str, ...], Parameter(group=_RULES, negative="")] = ()
    """A setting of the scheduler, as name=value; repeat the option."""
    reduction_factor: Annotated[int | None, Parameter(group=_RULES)] = None
    """ASHA's η: one of η cells passes a rung; default 2."""
    grace_fraction: Annotated[float | None, Parameter(group=_RULES)] = None
    """ASHA's first rung, as a share of a trial; default 0.25."""
    kill_rule: Annotated[
        Literal["ppl", "bpb", "sigma", "off"] | None, Parameter(group=_RULES, negative="")
    ] = None
    """Unit of the margin to the baseline (sigma: over the baseline's seeds); default ppl."""
    kill_margin: Annotated[float | None, Parameter(group=_RULES)] = None
    """How much worse than the baseline counts as worse; default 0.5."""
    kill_span: Annotated[Count, Parameter(group=_RULES)] = None
    """For how many tokens before the cell is stopped; default 1M, or as the space says."""

    def scheduler_settings(self) -> dict[str, Any]:
        """Settings of the scheduler that replace the space's. Raises ValueError as `values`."""
        named = {
            name: getattr(self, name)
            for name in ("reduction_factor", "grace_fraction")
            if getattr(self, name) is not None
        }
        return named | _assignments(self.scheduler_set, option="--scheduler-set")

    def values(self) -> dict[str, Any]:
        """Values that replace the space's. Raises ValueError for a --set that is no name=value."""
        named = {
            name: getattr(self, name)
            for name in ("corpus", "target_parameters", "vocab_size", "tokens")
            if getattr(self, name) is not None
        }
        return named | _assignments(self.set, option="--set")


_SWEEP = SweepOptions()
_RUNNER = RunOptions()


@app.default
def run(space: str = "quick", *, sweep: SweepOptions = _SWEEP, runner: RunOptions = _RUNNER) -> int:
    """Run a sweep, or continue the one of this name.

    Parameters
    ----------
    space
        quick, embedding, glu, embedding_glu, or the path of a .py file.
    """
    from tune_app.sweep.run import run_sweep  # noqa: PLC0415 - imports torch

    command = repeated(MODULE, own_arguments())
    with ended_by_signals():
        planned, rules = _plan(space, sweep)
        return run_sweep(planned, rules, runner, console=lasting_console(), command=command)


@app.command
def plan(space: str = "quick", *, sweep: SweepOptions = _SWEEP, cpus: int = 1) -> int:
    """Show what would run: cells, solved models, tokens, expected time and memory.

    Parameters
    ----------
    space
        quick, embedding, glu, embedding_glu, or the path of a .py file.
    cpus
        CPUs a cell, for the expected time.
    """
    from tune_app.sweep.estimate import plan_rows  # noqa: PLC0415 - imports torch
    from tune_app.terminal.tables import plan_table  # noqa: PLC0415

    console = Console()
    planned, _ = _plan(space, sweep)
    with console.status("timing a few training steps of the baseline on this machine"):
        rows = plan_rows(planned, threads=cpus)
    console.print(plan_table(rows))
    return 0


@app.command
def status(name: str = "quick", *, results: Path = Path("runs")) -> int:
    """Show how far a sweep is, while it runs or after.

    Parameters
    ----------
    name
        Of the sweep.
    results
        Folder of all sweeps.
    """
    from tune_app.terminal.tables import status_table  # noqa: PLC0415

    with _open(name, results) as journal:
        Console().print(status_table(journal))
    return 0


@app.command
def report(name: str = "quick", *, results: Path = Path("runs")) -> int:
    """Write the results of a sweep anew, from its journal alone.

    Parameters
    ----------
    name
        Of the sweep.
    results
        Folder of all sweeps.
    """
    from tune_app.results.write import write_results  # noqa: PLC0415 - imports pandas and matplotlib
    from tune_app.sweep.folder import is_running  # noqa: PLC0415
    from tune_app.terminal.tables import summary  # noqa: PLC0415

    with _open(name, results) as journal:
        write_results(journal, results / name, live=is_running(results / name))
        Console().print(summary(journal, results / name))
    return 0


def _plan(space: str, options: SweepOptions) -> tuple[SweepPlan, StoppingRules]:
    """What would be trained, and the rules that would decide."""
    from tune_app.plan.plan import Wishes, make_plan  # noqa: PLC0415 - imports numpy
    from tune_app.plan.space import load_space  # noqa: PLC0415
    from tune_app.stopping.planned import planned_rules  # noqa: PLC0415

    loaded = load_space(space)
    wishes = Wishes(
        name=options.name,
        values=options.values(),
        seeds=options.seeds,
        scheduler=options.scheduler,
        scheduler_settings=options.scheduler_settings(),
        kill_unit=options.kill_rule,
        kill_margin=options.kill_margin,
        kill_span=options.kill_span,
    )
    planned = make_plan(loaded, wishes)
    return planned, planned_rules(loaded, wishes, tokens=planned.tokens)


def _open(name: str, results: Path) -> Any:
    from tune_app.journal.journal import Journal  # noqa: PLC0415
    from tune_app.sweep.folder import JOURNAL  # noqa: PLC0415

    return Journal.open(results / name / JOURNAL, read_only=True)


def _assignments(pairs: Sequence[str], *, option: str) -> dict[str, Any]:
    """name=value pairs; a value is JSON, or else a string."""
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            example = "reduction_factor=3" if option == "--scheduler-set" else "learning_rate=2e-3"
            raise ValueError(f"{option} is {pair!r}; expected name=value, for example {example}")
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
