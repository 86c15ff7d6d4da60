"""Trains a sweep's cells on Ray, round after round: the only door to `on_ray`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self

from rich.console import Console
from rich.text import Text

from data.prepared import PreparedCorpus
from tune_app.cluster.capacity import ClusterSize
from tune_app.cluster.corpus_share import Tokens
from tune_app.cluster.options import Means, RunOptions
from tune_app.cluster.purse import Purse
from tune_app.journal.endings import CTRL_C, Ending, EndKind
from tune_app.journal.journal import Journal
from tune_app.journal.listener import Broadcast, SweepListener
from tune_app.plan.plan import SweepPlan, with_round
from tune_app.plan.rows import PlannedCell
from tune_app.results.mirrors.all_mirrors import mirrors
from tune_app.stopping.all_rules import StoppingRules
from tune_app.sweep.checks import check_all
from tune_app.sweep.order import begin, in_order, lost_baseline
from tune_app.sweep.preflight import seconds_between_losses
from tune_app.sweep.rounds import next_round
from tune_app.sweep.store_location import Stores, refuse_unshared
from tune_app.terminal.live import view_for
from tune_app.trial.checkpoint_interval import CheckpointTiming


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


def refuse_unshared_store(url: str, cluster: ClusterSize) -> None:
    """Raises ValueError for a store of checkpoints that not every node of the cluster sees."""
    from tune_app.on_ray.cluster import blind_nodes  # noqa: PLC0415 - imports Ray

    refuse_unshared(url, cluster, blind_nodes)


def run_rounds(
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
    cells = in_order(journal)
    if not cells:
        return None
    if (lost := lost_baseline(journal, plan)) is not None:
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
