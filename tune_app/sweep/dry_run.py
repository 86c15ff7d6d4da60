"""The dry run of a sweep: everything that the sweep checks and decides before it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from data.prepared import PreparedCorpus
from tune_app import formats
from tune_app.cluster.options import Means, RunOptions
from tune_app.devices import AUTO, checked_device
from tune_app.journal.journal import Journal
from tune_app.journal.reached import Reached, reached
from tune_app.plan.plan import SweepPlan
from tune_app.plan.rows import PlanRow
from tune_app.plan.search.records import rounds_left
from tune_app.stopping.all_rules import StoppingRules
from tune_app.sweep.announcement import announce
from tune_app.sweep.checks import check_all, this_machine
from tune_app.sweep.continuation import continuation
from tune_app.sweep.corpora import prepared_corpora, sweep_record
from tune_app.sweep.dollars import forecast_text
from tune_app.sweep.estimate import end_seconds, plan_rows, seconds_alone
from tune_app.sweep.folder import JOURNAL, is_running
from tune_app.sweep.gpu_sharing import Sharing, shared_gpus
from tune_app.sweep.inheritance import Inheritance
from tune_app.sweep.memory import cell_bytes
from tune_app.sweep.standing import Standing, standing_of
from tune_app.sweep.store_location import chosen_store
from tune_app.sweep.training import cluster_of
from tune_app.terminal.facts import Fact
from tune_app.terminal.tables import plan_table

_NOTHING = Inheritance()


def dry_run(
    plan: SweepPlan,
    rules: StoppingRules,
    options: RunOptions,
    *,
    console: Console,
    command: str,
    inheritance: Inheritance = _NOTHING,
    first: Sequence[Fact] = (),
) -> int:
    """Checks what a sweep with these options would check, and shows what it would do.

    Nothing is trained beyond a few timed steps, and no sweep is created. A corpus that is not
    prepared yet is prepared, which the sweep then need not do.

    Args:
        command: the command line that starts the sweep.
        inheritance: what a new sweep begins with.
        first: facts that it says first.

    Raises ValueError or OSError as the sweep itself would.
    """
    folder = options.results / plan.name
    standing = standing_of(folder, plan, rules, command=command)
    rules = standing.rules
    left = standing.left
    with cluster_of(options, left) as cluster:
        means = check_all(plan, options, size=cluster, cells=left, dry=True)
        here = this_machine(options.device)
        with shared_gpus(options, means, left, here=here) as sharing:
            means = Means.of(sharing.options, cluster or here) if sharing.packing else means
    corpora = prepared_corpora(plan, console)
    standing.refuse_other_text(sweep_record(standing.plan, rules, corpora, command=command))
    device = checked_device(AUTO if options.on_a_cluster else options.device)
    with console.status("timing a few training steps of the baseline on this machine"):
        sizes = _split_bytes(corpora)
        rows = plan_rows(
            standing.plan,
            threads=means.cpus,
            device=device,
            dev_bytes=sizes.get("dev", 0),
            done=inheritance.done,
        )
    console.print(plan_table(rows))
    console.print()
    announce(
        standing.plan,
        rules,
        corpora,
        console,
        ended=len(standing.plan.feasible) - len(left),
        infeasible=False,
        first=[*first, *continuation(standing, _reached(folder))],
        more=_facts(
            standing,
            options,
            means,
            sharing,
            rows=rows,
            device=device,
            sizes=sizes,
            done=inheritance.done,
        ),
    )
    console.print()
    if left:
        console.print(
            f"Nothing was started. Start it with: {command}", markup=False, soft_wrap=True
        )
    else:
        console.print(Text("Every cell has been trained; nothing is left to do."))
    return 0


def _memory(plan: SweepPlan, rows: Sequence[PlanRow], *, device: str, at_once: int) -> list[Fact]:
    """What the largest cell takes: its process, or on a GPU its tensors."""
    if device == "cuda":
        most = max((row.memory_bytes or 0 for row in rows), default=0)
        where = "on a GPU for the largest cell"
    else:
        most = max(map(cell_bytes, plan.feasible), default=0)
        where = "for the process of the largest cell"
    together = f", {formats.size(at_once * most)} for {at_once} at once" if at_once > 1 else ""
    return [("memory", f"about {formats.size(most)} {where}{together}")]


def _later_rounds(plan: SweepPlan, each: float) -> str:
    """What the rounds of a search that are not proposed yet take at `each` seconds a cell."""
    search = plan.search
    rounds = 0 if search is None else rounds_left(search.as_dict(), plan.rounds)
    if search is None or rounds == 0:
        return ""
    cells = rounds * search.settings.cells * len(plan.seeds)
    return (
        f", and about {formats.duration(cells * each)} for {formats.counted(cells, 'cell')} of "
        f"{formats.counted(rounds, 'later round')}"
    )


def _split_bytes(corpora: Mapping[str, PreparedCorpus]) -> dict[str, int]:
    """Bytes of text of each split; the same text for every tokenizer."""
    manifest = next(iter(corpora.values())).manifest
    return {name: split.text_bytes for name, split in manifest.splits.items()}


def _reached(folder: Path) -> dict[str, Reached]:
    if not (folder / JOURNAL).exists():
        return {}
    with Journal.open(folder / JOURNAL, read_only=True) as journal:
        return reached(journal)


def _facts(
    standing: Standing,
    options: RunOptions,
    means: Means,
    sharing: Sharing,
    *,
    rows: Sequence[PlanRow],
    device: str,
    sizes: Mapping[str, int],
    done: Mapping[str, float],
) -> list[Fact]:
    plan, left = standing.plan, standing.left
    folder = options.results / plan.name
    state = "new"
    if standing.sweep is not None:
        state = "running now" if is_running(folder) else "continued"
    place = f"on {options.address}" if options.on_a_cluster else "on this machine"
    each = f"{means.gpus:g} GPUs, " if means.gpus else ""
    seconds = seconds_alone(plan, rows, left)
    at_once = max(1, min(means.cells_at_once, len(left)))
    shared = sharing.packing
    parallel = at_once if shared is None else shared.as_whole_gpus(at_once)
    time = (
        f"about {formats.duration(seconds / parallel)} for "
        f"{formats.counted(len(left), 'cell')}, {at_once} at once"
    )
    time += _later_rounds(plan, seconds / max(1, len(left)) / parallel)
    if left and (test := sizes.get("test", 0)):
        end = end_seconds(plan, rows, dev=sizes["dev"], test=test, done=done)
        time += f", then {formats.duration(end)} to score leader and baseline on the test split"
    cost = forecast_text(seconds / parallel, options)
    return [
        *([("dollars", cost)] if cost else []),
        ("results", f"{folder} ({state})"),
        ("checkpoints", chosen_store(options.checkpoints, folder)),
        *_memory(plan, rows, device=means.device, at_once=at_once),
        *sharing.facts,
        ("device", f"{means.device}, {each}{formats.counted(means.cpus, 'CPU')} per cell, {place}"),
        (
            "time",
            f"{time}; measured on {device} of this machine, less if cells are stopped; starting "
            "Ray and writing the results come on top",
        ),
    ]
