"""The command line of a sweep.

python -m tune_app.sweep [SPACE]           run a sweep, or continue it
python -m tune_app.sweep plan [SPACE]      check everything and show what would run
python -m tune_app.sweep shapes [SPACE]    show the admissible shapes of each cell
python -m tune_app.sweep status [NAME]     show the progress of a sweep
python -m tune_app.sweep report [NAME]     rewrite its results from the journal
python -m tune_app.sweep list [RESULTS]    list the sweeps in a folder
python -m tune_app.sweep settings          show every setting of a cell and of the stopping rules
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter, Token
from rich.console import Console

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
from tune_app.formats import results_option
from tune_app.plan.wishes import Count, Wishes

if TYPE_CHECKING:
    from data.tokenizers.spec import TokenizerSpec
    from tune_app.cluster.daemon import ClusterDaemon
    from tune_app.plan.plan import SweepPlan
    from tune_app.stopping.all_rules import StoppingRules
    from tune_app.sweep.asked import Asked

MODULE = "tune_app.sweep"
_NAME = command_name(MODULE)
_RUNS = Path("runs")

app = App(
    name=_NAME,
    help="""Find how a small language model should spend its parameters.

    Trains every cell of a search space at one parameter budget, stops cells that
    fall behind, and writes tables, plots and a report. Repeat the command to
    continue an interrupted sweep; put `plan` in front of its options to see what
    it would do.""",
    help_epilogue=examples(
        _NAME,
        f"{_NAME} plan embedding_glu --tokens 20M",
        f"{_NAME} embedding_glu --corpus wikitext-103 --device cuda",
        f"{_NAME} my_space.py --seeds 0,1 --set learning_rate=2e-3",
        f"{_NAME} status my_space",
    ),
    help_format="plaintext",
    version=version_text,
)

_WISHES = Wishes()
_OPTIONS = RunOptions()
Space = Annotated[
    str,
    Parameter(
        help="The search space: quick, embedding, glu, embedding_glu, quick_rates, "
        "quick_training; "
        "attention, factorized, heads, glu_family, moe, polyglu, vocabulary, superbpe, "
        "optimizers; "
        "quick_attention, quick_factorized, quick_heads, quick_glu_family, quick_moe, "
        "quick_polyglu, quick_vocabulary, quick_superbpe, quick_optimizers; "
        "share_at_equal_width, share_at_equal_shape, share_at_equal_depth, depth_width; "
        "quick_share_at_equal_width, quick_share_at_equal_shape, quick_share_at_equal_depth, "
        "quick_depth_width; mixtures, curriculum, quick_mixtures, quick_curriculum; everything, "
        "quick_everything; or the path to a .py file."
    ),
]
Name = Annotated[str, Parameter(help="Name of the sweep.")]


def _folder(_: Any, tokens: Sequence[Token]) -> Path:
    """A shell does not expand --results=~/runs."""
    return Path(tokens[0].value).expanduser()


Results = Annotated[Path, Parameter(converter=_folder, help="Folder that holds all sweeps.")]


AddSeeds = Annotated[
    int | None,
    Parameter(
        help="Add this many seeds to those that the sweep of this name has, and keep what it has "
        "trained; default: none.",
    ),
]

ExtendTokens = Annotated[
    Count,
    Parameter(
        help="Train the finished cells of the sweep of this name on so many tokens in all, from "
        "just before their cool-down, as the sweep NAME-600k beside it; default: none.",
    ),
]


@app.default
def run(
    space: Space = "quick",
    *,
    wishes: Wishes = _WISHES,
    options: RunOptions = _OPTIONS,
    add_seeds: AddSeeds = None,
    extend_tokens: ExtendTokens = None,
) -> int:
    """Run a sweep, or continue the one with this name."""
    from tune_app.sweep.run import run_sweep  # noqa: PLC0415 - imports torch

    if wishes.asks_for_names:
        return settings()
    wishes, arguments = _grown(space, wishes, options, add_seeds, own_arguments())
    command = repeated(MODULE, arguments)
    with ended_by_signals():
        asked = _asked(space, wishes, options, extend_tokens)
        return run_sweep(
            asked.plan,
            asked.rules,
            options,
            console=lasting_console(),
            command=command,
            inheritance=asked.inheritance,
            first=asked.facts,
            daemon=_daemon(options),
        )


@app.command(
    sort_key=1,
    help_epilogue=examples(
        f"{_NAME} plan",
        f"{_NAME} plan embedding_glu --corpus wikitext-103 --gpus 1",
    ),
)
def plan(
    space: Space = "quick",
    *,
    wishes: Wishes = _WISHES,
    options: RunOptions = _OPTIONS,
    add_seeds: AddSeeds = None,
    extend_tokens: ExtendTokens = None,
) -> int:
    """Check everything and show what would run, without running it.

    Takes the options of the sweep itself. Checks corpus, device, folders and
    checkpoint store; shows the cells with their solved models, the rules that stop
    them, and the expected time and memory. A corpus that is not prepared yet is
    prepared.
    """
    from tune_app.sweep.dry_run import dry_run  # noqa: PLC0415 - imports torch

    if wishes.asks_for_names:
        return settings()
    arguments = own_arguments()
    arguments = arguments[1:] if arguments[:1] == ["plan"] else arguments
    wishes, arguments = _grown(space, wishes, options, add_seeds, arguments)
    command = repeated(MODULE, arguments)
    asked = _asked(space, wishes, options, extend_tokens)
    return dry_run(
        asked.plan,
        asked.rules,
        options,
        console=lasting_console(),
        command=command,
        inheritance=asked.inheritance,
        first=asked.facts,
    )


@app.command(
    sort_key=2,
    help_epilogue=examples(f"{_NAME} shapes", f"{_NAME} shapes embedding_glu --vocab-size 8k"),
)
def shapes(space: Space = "quick", *, wishes: Wishes = _WISHES) -> int:
    """Show the admissible shapes of each cell, and which one is trained.

    Many sizes meet a cell's budget and wishes. For each depth the best ones are
    shown, with what they cost by the rule that chooses.
    """
    from tune_app.plan.shapes import admissible_shapes  # noqa: PLC0415
    from tune_app.terminal.shapes import shapes_table  # noqa: PLC0415

    if wishes.asks_for_names:
        return settings()
    planned, _ = _plan(space, replace(wishes, seeds=wishes.seeds[:1]))
    lasting_console().print(shapes_table(admissible_shapes(planned)))
    return 0


@app.command(sort_key=3, help_epilogue=examples(f"{_NAME} status", f"{_NAME} status my_space"))
def status(name: Name = "quick", *, results: Results = _RUNS) -> int:
    """Show the progress of a sweep, while it runs or afterwards."""
    from tune_app.terminal.tables import status_table  # noqa: PLC0415

    with _open(name, results) as journal:
        Console().print(status_table(journal))
    return 0


@app.command(
    sort_key=4,
    help_epilogue=examples(f"{_NAME} report my_space", f"{_NAME} report my_space --to elsewhere"),
)
def report(
    name: Name = "quick",
    *,
    results: Results = _RUNS,
    to: Annotated[
        Path | None, Parameter(help="Folder to write the results to; default: the sweep's own.")
    ] = None,
) -> int:
    """Rewrite the results of a sweep from its journal alone."""
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


@app.command(
    name="list",
    sort_key=5,
    help_epilogue=examples(f"{_NAME} list", f"{_NAME} list /data/runs"),
)
def list_(results: Results = _RUNS) -> int:
    """List the sweeps in a folder: state, cells done, leader, start."""
    from tune_app.sweep.listing import list_sweeps  # noqa: PLC0415 - imports numpy
    from tune_app.terminal.sweeps import sweeps_table  # noqa: PLC0415

    if rows := list_sweeps(results):
        Console().print(sweeps_table(rows))
    else:
        console = Console(soft_wrap=True)
        start = f"{_NAME}{results_option(results)}"
        console.print(f"no sweeps in {results}/ yet; start one with: {start}", markup=False)
    return 0


@app.command(sort_key=6, help_epilogue=examples(f"{_NAME} settings"))
def settings() -> int:
    """Show every setting of a cell and of the stopping rules, for --set and spaces."""
    from tune_app.plan.search.settings import SAMPLERS, SamplerSettings  # noqa: PLC0415
    from tune_app.plan.settings import (  # noqa: PLC0415 - reads the source of some classes
        SettingsGroup,
        cell_settings,
        settings_of,
        settings_with_bases,
    )
    from tune_app.stopping.all_rules import SCHEDULERS  # noqa: PLC0415
    from tune_app.stopping.sweep_rules import kill_rule_settings  # noqa: PLC0415
    from tune_app.terminal.settings import settings_table  # noqa: PLC0415

    schedulers = [
        SettingsGroup(title=f"Scheduler {name}", settings=settings_with_bases(kind))
        for name, kind in SCHEDULERS.items()
    ]
    sampler = SettingsGroup(
        title="Sampler of a search", settings=settings_of(SamplerSettings, {"name": [*SAMPLERS]})
    )
    kill_rule = SettingsGroup(title="Kill rule", settings=kill_rule_settings())
    how = (
        "Set one of a cell with --set name=value, or in FIXED and AXES of a search space "
        "(or in NUISANCE, to compare cells at their best of several values; or in SEARCH and WHEN, "
        "to search in rounds, with --sampler-set or SAMPLER for how); one of the scheduler with "
        "--scheduler-set, or in SCHEDULER; one of the kill rule with --kill-rule (its unit), "
        "--kill-margin and --kill-span, or in KILL_RULE. Counts may be "
        'written as 150k or 5M, in a space as text: "150k". A size that is free is chosen by '
        "the solver to meet the parameter budget."
    )
    Console().print(settings_table([*cell_settings(), sampler, *schedulers, kill_rule], how=how))
    return 0


def _grown(
    space: str, wishes: Wishes, options: RunOptions, add: int | None, arguments: list[str]
) -> tuple[Wishes, list[str]]:
    """The wishes and the arguments with added seeds by name, as far as any are added."""
    if add is None:
        return wishes, arguments
    from tune_app.plan.space_file import load_space  # noqa: PLC0415
    from tune_app.sweep.growing import grown, with_seeds_named  # noqa: PLC0415 - imports numpy

    name = wishes.name or load_space(space).name
    wishes = grown(wishes, add, name=name, results=options.results)
    return wishes, with_seeds_named(arguments, wishes.seeds)


def _asked(space: str, wishes: Wishes, options: RunOptions, tokens: int | None) -> Asked:
    """The sweep that a command asks for; `tokens` are those of --extend-tokens."""
    from tune_app.sweep.asked import Asked  # noqa: PLC0415 - imports numpy

    if tokens is None:
        planned, rules = _plan(space, wishes)
        return Asked(plan=planned, rules=rules)
    from tune_app.plan.space_file import load_space  # noqa: PLC0415
    from tune_app.sweep.beginnings import more_tokens  # noqa: PLC0415 - imports torch
    from tune_app.sweep.extended import OPTION  # noqa: PLC0415

    if replace(wishes, name=None) != Wishes():
        raise ValueError(
            f"{OPTION} takes the cells and their settings from the sweep; leave out the other "
            "options of what to train and what to stop"
        )
    name = wishes.name or (load_space(space).name if space.endswith(".py") else space)
    return more_tokens(name, tokens, results=options.results, console=lasting_console())


def _daemon(options: RunOptions) -> ClusterDaemon | None:
    """The daemon that rents the cluster's machines, on its head; None elsewhere."""
    if not options.on_a_cluster:
        return None
    from tune_app.cloud.daemon.client import daemon_here  # noqa: PLC0415

    return daemon_here()


def _plan(space: str, wishes: Wishes) -> tuple[SweepPlan, StoppingRules]:
    """The plan of a sweep, and its stopping rules."""
    from tune_app.plan.space_file import load_space  # noqa: PLC0415
    from tune_app.stopping.sweep_rules import plan_with_rules  # noqa: PLC0415 - imports numpy

    def train_tokens(corpus: str, tokenizer: TokenizerSpec) -> int:
        from data.display import progress_display  # noqa: PLC0415 - imports numpy
        from data.prepare import prepare  # noqa: PLC0415

        with progress_display(lasting_console()) as report:
            return prepare(corpus, tokenizer, report=report).manifest.splits["train"].tokens

    return plan_with_rules(load_space(space), wishes, train_tokens=train_tokens)


def _open(name: str, results: Path) -> Any:
    from tune_app.sweep.listing import open_named  # noqa: PLC0415 - imports numpy

    return open_named(name, results)


if __name__ == "__main__":
    sys.exit(run_command(app, MODULE))
