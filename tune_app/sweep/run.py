"""A sweep from its plan to its results: prepare, start or continue, run, write, summarise."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from rich.console import Console
from rich.text import Text

from tune_app.cluster.daemon import ClusterDaemon
from tune_app.cluster.options import RunOptions
from tune_app.journal.endings import COMPLETE
from tune_app.journal.journal import Journal
from tune_app.journal.reached import reached
from tune_app.plan.plan import SweepPlan
from tune_app.stopping.all_rules import StoppingRules
from tune_app.sweep.announcement import announce
from tune_app.sweep.beginnings import bring
from tune_app.sweep.checks import check_all, resources, this_machine
from tune_app.sweep.continuation import continuation
from tune_app.sweep.corpora import prepared_corpora, sweep_record
from tune_app.sweep.dollars import purse_of, refuse_over_limit
from tune_app.sweep.folder import JOURNAL, exclusive
from tune_app.sweep.gpu_sharing import shared_gpus
from tune_app.sweep.inheritance import Inheritance
from tune_app.sweep.leader_score import score_leader
from tune_app.sweep.order import begin
from tune_app.sweep.outcome import Outcome
from tune_app.sweep.preflight import (
    check_storage,
    keep_tokenizers,
    share_tokens,
    tidy_up,
)
from tune_app.sweep.standing import standing_of
from tune_app.sweep.store_location import chosen_store, stores_of
from tune_app.sweep.training import cluster_of, refuse_unshared_store, run_rounds
from tune_app.terminal.facts import Fact
from tune_app.terminal.tables import summary

_NOTHING = Inheritance()


def run_sweep(
    plan: SweepPlan,
    rules: StoppingRules,
    options: RunOptions,
    *,
    console: Console,
    command: str,
    inheritance: Inheritance = _NOTHING,
    first: Sequence[Fact] = (),
    daemon: ClusterDaemon | None = None,
) -> int:
    """Runs a sweep as `train_sweep` does, prints its result, and returns the exit code."""
    outcome = train_sweep(
        plan,
        rules,
        options,
        console=console,
        command=command,
        inheritance=inheritance,
        first=first,
        daemon=daemon,
    )
    folder = options.results / plan.name
    with Journal.open(folder / JOURNAL, read_only=True) as journal:
        console.print(summary(journal, folder))
    if outcome.ended_by is not None:
        console.print(
            f"\nThe sweep ended early: {outcome.ended_by}.",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if outcome.interrupted or outcome.paused or outcome.scores_left:
        console.print(f"Continue it with: {command}", markup=False, soft_wrap=True)
    return outcome.exit_code


def train_sweep(
    plan: SweepPlan,
    rules: StoppingRules,
    options: RunOptions,
    *,
    console: Console,
    command: str,
    inheritance: Inheritance = _NOTHING,
    first: Sequence[Fact] = (),
    daemon: ClusterDaemon | None = None,
) -> Outcome:
    """Runs a sweep, or what is left of it, and writes its results.

    Args:
        plan: its cells.
        rules: that stop them.
        options: how it is run.
        console: shows what is about to run, and the progress.
        command: the command line that continues the sweep.
        inheritance: what a new sweep begins with.
        first: facts that it says first.
        daemon: knows what the cluster's machines cost, and when they end; None if nothing does.

    Raises ValueError for user mistakes: a corpus that cannot be used, a sweep of the same name
    with other settings, a sweep that is already running.
    """
    folder = options.results / plan.name
    with ExitStack() as stack:
        stack.enter_context(exclusive(folder))
        standing = standing_of(folder, plan, rules, command=command)
        rules = standing.rules
        cluster = stack.enter_context(cluster_of(options, standing.left))
        means = check_all(plan, options, size=cluster, cells=standing.left)
        here = this_machine(options.device)
        sharing = stack.enter_context(shared_gpus(options, means, standing.left, here=here))
        if sharing.options != options:
            options = sharing.options
            means = resources(options, standing.left, size=cluster)
        if cluster is not None:
            refuse_unshared_store(chosen_store(options.checkpoints, folder), cluster)
        corpora = prepared_corpora(plan, console)
        record = sweep_record(standing.plan, rules, corpora, command=command)
        standing.refuse_other_text(record)
        refuse_over_limit(
            standing.plan,
            standing.left,
            options,
            means,
            dev_bytes=next(iter(corpora.values())).manifest.splits["dev"].text_bytes,
            priced=daemon is not None,
            done=inheritance.done,
            sharing=sharing.packing,
        )
        with standing.open_journal(folder, record, inheritance=inheritance) as journal:
            begin(journal, rules)
            cells = journal.cells()
            announce(
                standing.plan,
                rules,
                corpora,
                console,
                # A race has cells wait that have never started.
                ended=sum(cell.status.done and cell.attempts > 0 for cell in cells),
                cells=len(cells),
                first=[*first, *continuation(standing, reached(journal))],
                more=sharing.facts,
            )
            sweep = journal.sweep()
            stores = stores_of(
                options.checkpoints, folder, name=sweep.begun_as, created_at=sweep.created_at
            )
            tokens = None
            if any(not cell.status.ended for cell in journal.cells()):
                check_storage(
                    stores.checkpoints,
                    folder,
                    journal.cells(),
                    cells_at_once=means.cells_at_once,
                )
                keep_tokenizers(folder, stores.checkpoints, corpora.values())
                bring(
                    inheritance.beginnings,
                    stores.checkpoints,
                    journal,
                    folder,
                    corpora=corpora,
                    console=console,
                )
                if cluster is not None:
                    tokens = share_tokens(stores.tokens, corpora, console)
            trains = any(not cell.status.ended for cell in journal.cells())
            with purse_of(
                journal,
                options,
                name=plan.name,
                trains=trains,
                daemon=daemon,
                sharing=sharing.packing,
            ) as purse:
                ending = run_rounds(
                    standing.plan,
                    rules,
                    journal,
                    corpora,
                    options,
                    console=console,
                    means=means,
                    cluster=cluster,
                    stores=stores,
                    tokens=tokens,
                    purse=purse,
                )
                journal.mark_interrupted()
                purse.ended(ending or COMPLETE)
                tidy_up(stores.checkpoints, journal, folder)
                scores_left = False
                if ending is None:
                    ending = score_leader(
                        journal,
                        corpora,
                        folder,
                        console=console,
                        device=options.device,
                        threads=means.cpus * means.cells_at_once,
                        tested=inheritance.tested,
                    )
                    if ending is not None:
                        scores_left = True
                        purse.ended(ending)
            console.print(Text(f"writing the results to {folder}", style="dim"), soft_wrap=True)
            # Importing Matplotlib and Arrow takes seconds; do not delay the start of a sweep.
            from tune_app.results.write import write_results  # noqa: PLC0415

            write_results(journal, folder)
            statuses = tuple(cell.status for cell in journal.cells())
            left = journal.rounds_left()
    return Outcome(statuses=statuses, ending=ending, rounds_left=left, scores_left=scores_left)
