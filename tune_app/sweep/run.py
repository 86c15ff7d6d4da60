"""A sweep from its plan to its results: prepare, start or continue, run, write, summarise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self

from rich.console import Console
from rich.text import Text

from data.prepared import PreparedCorpus
from tune_app.cluster.capacity import ClusterSize
from tune_app.cluster.corpus_share import Tokens
from tune_app.cluster.daemon import ClusterDaemon
from tune_app.cluster.options import Means, RunOptions
from tune_app.cluster.purse import Purse
from tune_app.journal.endings import Ending, EndKind
from tune_app.journal.journal import Journal
from tune_app.journal.listener import Broadcast, SweepListener
from tune_app.journal.reached import reached
from tune_app.journal.records import Action, CellRecord, Status
from tune_app.plan.plan import SweepPlan, with_round
from tune_app.plan.rows import PlannedCell
from tune_app.results.mirrors.all_mirrors import mirrors
from tune_app.stopping.all_rules import StoppingRules
from tune_app.stopping.curves import Curves, is_same_but_seed
from tune_app.stopping.recording_referee import RecordingReferee
from tune_app.sweep.announcement import announce
from tune_app.sweep.beginnings import bring
from tune_app.sweep.checks import check_all, this_machine
from tune_app.sweep.continuation import continuation
from tune_app.sweep.corpora import prepared_corpora, sweep_record
from tune_app.sweep.dollars import purse_of, refuse_over_limit
from tune_app.sweep.folder import JOURNAL, exclusive
from tune_app.sweep.gpu_sharing import shared_gpus
from tune_app.sweep.inheritance import Inheritance
from tune_app.sweep.leader_score import score_leader
from tune_app.sweep.outcome import COMPLETE, CTRL_C, Outcome
from tune_app.sweep.preflight import (
    check_storage,
    keep_tokenizers,
    seconds_between_losses,
    share_tokens,
    tidy_up,
)
from tune_app.sweep.rounds import next_round
from tune_app.sweep.standing import standing_of
from tune_app.sweep.store_location import Stores, chosen_store, refuse_unshared, stores_of
from tune_app.terminal.facts import Fact
from tune_app.terminal.live import view_for
from tune_app.terminal.tables import summary
from tune_app.trial.checkpoint_interval import CheckpointTiming

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
    if outcome.interrupted or outcome.paused:
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
            means = check_all(plan, options, size=cluster, cells=standing.left)
        if cluster is not None:
            _refuse_unshared(chosen_store(options.checkpoints, folder), cluster)
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
                ending = _run_rounds(
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
                scored = True
                if ending is None:
                    scored = score_leader(
                        journal,
                        corpora,
                        folder,
                        console=console,
                        device=options.device,
                        threads=means.cpus * means.cells_at_once,
                        tested=inheritance.tested,
                    )
                    if not scored:
                        ending = CTRL_C
                        purse.ended(ending)
            console.print(Text(f"writing the results to {folder}", style="dim"), soft_wrap=True)
            # Importing Matplotlib and Arrow takes seconds; do not delay the start of a sweep.
            from tune_app.results.write import write_results  # noqa: PLC0415

            write_results(journal, folder)
            statuses = tuple(cell.status for cell in journal.cells())
            left = journal.rounds_left()
    return Outcome(statuses=statuses, ending=ending, rounds_left=left, scores_left=not scored)


@contextmanager
def cluster_of(options: RunOptions, left: Sequence[PlannedCell]) -> Iterator[ClusterSize | None]:
    """Connects to the cluster, if the options name one and there is something left to train."""
    if not left:
        yield None
        return
    from tune_app.on_ray.cluster import check_places, cluster_size, connected  # noqa: PLC0415 - Ray

    check_places(local=options.address is None)
    if options.address is None:  # Ray starts once the corpora are ready
        yield None
        return
    with connected(options.address, cpus=0, gpus=0.0, show=options.show_ray):
        yield cluster_size()


def _refuse_unshared(url: str, cluster: ClusterSize) -> None:
    from tune_app.on_ray.cluster import blind_nodes  # noqa: PLC0415 - imports Ray

    refuse_unshared(url, cluster, blind_nodes)


def begin(journal: Journal, rules: StoppingRules) -> None:
    """Has those cells wait that the rules want later; lets those paused cells go on that no longer
    wait for any other: a command may have left out the cells that they waited for."""
    RecordingReferee(journal, rules.build(tokens=journal.sweep().tokens)).begin()


def _in_order(journal: Journal) -> list[CellRecord]:
    """The cells that are to be trained, the baseline on every seed first, then at its other
    nuisance values: the others are compared with it.

    Then as if the sweep had never been interrupted: cells that were in training, new ones, and
    those that were promoted, in the order of their promotions.
    """
    sweep, cells = journal.sweep(), journal.cells()
    curves = Curves(cells, baseline=sweep.baseline, nuisance=sweep.nuisance)

    promoted = {
        decision.cell: number
        for number, decision in enumerate(journal.decisions(), 1)
        if decision.action is Action.PROMOTE
    }

    def turn(cell: CellRecord) -> tuple[bool, bool, bool, int]:
        return (
            not curves.is_baseline(cell.key),
            curves.baseline_of(cell.key) != cell.key,
            cell.status is not Status.INTERRUPTED,
            promoted.get(cell.key, 0),
        )

    return sorted((cell for cell in cells if not cell.status.ended), key=turn)


def _lost_baseline(journal: Journal, plan: SweepPlan) -> Ending | None:
    """Why the sweep cannot continue: its baseline diverged in an earlier run."""
    named = {cell.key for cell in plan.cells}
    baseline = journal.cell(journal.sweep().baseline)
    for cell in journal.cells():
        if (
            cell.status is Status.STOPPED
            and cell.key in named
            and is_same_but_seed(cell.values, baseline.values)
        ):
            return Ending(kind=EndKind.LOST, reason=f"the baseline diverged: {cell.reason}")
    return None


def _run_rounds(
    plan: SweepPlan,
    rules: StoppingRules,
    journal: Journal,
    corpora: Mapping[str, PreparedCorpus],
    options: RunOptions,
    *,
    console: Console,
    means: Means,
    cluster: ClusterSize | None,
    stores: Stores,
    tokens: Tokens | None,
    purse: Purse,
) -> Ending | None:
    """Trains the cells, and those of each further round of a search once the last one has ended.

    Returns what ended it early, or None.
    """
    try:
        with OwnRay(options, console) as ray:
            while True:
                ending = _run(
                    plan,
                    rules,
                    journal,
                    corpora,
                    options,
                    console=console,
                    means=means,
                    ray=ray,
                    stores=stores,
                    tokens=tokens,
                    purse=purse,
                )
                following = None if ending else next_round(plan.search, journal)
                if following is None:
                    return ending
                journal.propose(following.round, following.cells)
                begin(journal, rules)
                plan = with_round(plan, following)
                for note in following.notes:
                    console.print(Text(f"note: {note}", style="dim"), soft_wrap=True)
                if following.cells:
                    means = check_all(plan, options, size=cluster, cells=following.cells)
    except KeyboardInterrupt:
        return CTRL_C


class OwnRay:
    """Ray on this machine, started when the first cell is to be trained; nothing on a cluster."""

    def __init__(self, options: RunOptions, console: Console) -> None:
        self._options, self._console = options, console
        self._stack = ExitStack()
        self._means: Means | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def connect(self, means: Means) -> None:
        """Has Ray running with these resources, anew if it has others."""
        if self._options.address is not None or means == self._means:
            return
        # Seconds, or a minute on a busy machine.
        self._console.print(Text("starting Ray on this machine", style="dim"))
        from tune_app.on_ray.cluster import connected  # noqa: PLC0415 - imports Ray

        self._stack.close()
        self._stack.enter_context(
            connected(
                None,
                cpus=means.cpus * means.cells_at_once,
                gpus=means.gpus,
                show=self._options.show_ray,
                device=self._options.device,
            )
        )
        self._means = means


def _run(
    plan: SweepPlan,
    rules: StoppingRules,
    journal: Journal,
    corpora: Mapping[str, PreparedCorpus],
    options: RunOptions,
    *,
    console: Console,
    means: Means,
    ray: OwnRay,
    stores: Stores,
    tokens: Tokens | None,
    purse: Purse,
) -> Ending | None:
    """Trains the cells that have not ended. Returns what ended it early, or None."""
    cells = _in_order(journal)
    if not cells:
        return None
    if (lost := _lost_baseline(journal, plan)) is not None:
        return lost
    if purse.drain is not None:
        return Ending(kind=EndKind.DOLLARS, reason=purse.drain)
    ray.connect(means)
    # Ray takes a second to import; --help and a finished sweep do without.
    from tune_app.on_ray.tuner import run_cells  # noqa: PLC0415

    folder = options.results / plan.name
    listeners: list[SweepListener] = [
        view_for(console, cells_at_once=means.cells_at_once),
        *mirrors(folder, wandb=options.wandb),
    ]
    listener = Broadcast(listeners)
    listener.sweep_started(journal)
    try:
        return run_cells(
            cells,
            journal,
            folder=folder,
            checkpoints=stores.checkpoints,
            timing=CheckpointTiming(
                interval=options.checkpoint_every,
                between_losses=seconds_between_losses(journal),
                rungs=rules.milestones(plan.tokens),
            ),
            corpora={key: corpus.folder for key, corpus in corpora.items()},
            tokens=tokens,
            listener=listener,
            options=options,
            means=means,
            purse=purse,
        )
    finally:
        listener.sweep_ended()
