"""Runs the remaining cells of a sweep on Ray Tune."""

from __future__ import annotations

import logging
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any

from ray import tune
from ray.tune import (
    Callback,
    CheckpointConfig,
    FailureConfig,
    ProgressReporter,
    RunConfig,
    TuneConfig,
    Tuner,
)
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback

from model.training.settings import wished_at_once
from tune_app.cluster.corpus_share import Tokens
from tune_app.cluster.idle_notice import Waiting
from tune_app.cluster.options import Means, RunOptions
from tune_app.cluster.purse import Purse
from tune_app.command_line import ENDING, handled
from tune_app.faults.policy import micro_batch_size
from tune_app.formats import duration
from tune_app.journal.endings import CTRL_C, TERMINATED, Ending, EndKind
from tune_app.journal.full_disk import wait_until_written
from tune_app.journal.journal import Journal
from tune_app.journal.listener import SweepListener
from tune_app.journal.records import CellRecord, Status
from tune_app.on_ray.cell_queue import CellQueue
from tune_app.on_ray.cluster import cluster_size
from tune_app.on_ray.halt import Halt
from tune_app.on_ray.messages import CELL
from tune_app.on_ray.not_pickled import Unsaved
from tune_app.on_ray.scheduler import SweepScheduler
from tune_app.on_ray.superseded import Superseded
from tune_app.on_ray.trainable import CellTrainable
from tune_app.stopping.all_rules import StoppingRules
from tune_app.stopping.recording_referee import RecordingReferee
from tune_app.stores.open import below, from_folder, open_store
from tune_app.trial.checkpoint_interval import CheckpointTiming

logger = logging.getLogger(__name__)

_SAME_SIGNAL = 1.0
"""Seconds within which several signals count as one."""

SCRATCH = ".tune"
"""In the sweep's folder: Tune's own snapshots, which nothing reads."""


def run_cells(
    cells: Sequence[CellRecord],
    journal: Journal,
    *,
    folder: Path,
    checkpoints: str,
    timing: CheckpointTiming,
    corpora: Mapping[str, Path],
    tokens: Tokens | None,
    listener: SweepListener,
    options: RunOptions,
    means: Means,
    purse: Purse | None = None,
) -> Ending | None:
    """Trains cells in order until all have ended. Ray must be connected.

    Args:
        cells: cells of the sweep that have not ended.
        journal: receives every observation and decision; its sweep names the stopping rules.
        folder: of the sweep; no other process may work in it.
        checkpoints: URL of the checkpoint store.
        timing: when a trial writes checkpoints.
        corpora: folders of the prepared corpora on this machine, by tokenizer key.
        tokens: where other machines download the corpora; None if only this machine trains.
        listener: is told of every event.
        options: how the sweep is run.
        means: the resources that these options resolve to.
        purse: keeps the account of the sweep, and says when all cells are to be saved.

    Returns:
        What ended the sweep before its cells had, or None.
    """
    sweep = journal.sweep()
    rules = StoppingRules.from_record(sweep)
    halt = Halt()
    write = partial(wait_until_written, still_wanted=lambda: halt.ending is None)
    param_space = {
        "checkpoints": checkpoints,
        "timing": asdict(timing),
        "share_compiled": options.share_compiled,
        "kept_checkpoints": {"keep": options.keep_checkpoints, "keep_best": options.keep_best},
        "corpora": {key: str(path.absolute()) for key, path in corpora.items()},
        "tokens": tokens,
        "threads": means.cpus,
        "hang_s": 60.0 * options.hang_minutes,
        "device": means.device,
        "gpus": means.gpus,
        "cuda_graph": options.cuda_graph,
    }
    keys = [cell.key for cell in cells]
    left = list(cells)
    superseded = Superseded(lambda: open_store(checkpoints), keep_best=options.keep_best)
    with _scratch(folder / SCRATCH) as scratch, superseded, interrupts(halt, listener.ending):
        # Repeats if Tune gave a cell up: it never retries one whose process was lost while it was
        # being reset for that cell, nor one that gave its process to another, which could not
        # report that its model was stored.
        while left and halt.ending is None:
            queue = CellQueue(at_once=means.cells_at_once, ended=lambda: halt.ending is not None)
            # Those that are paused wait to be promoted: Tune is told of them first.
            paused = [cell for cell in journal.cells() if cell.status is Status.PAUSED]
            keys += [cell.key for cell in paused if cell.key not in keys]
            scheduler = SweepScheduler(
                journal,
                referee=RecordingReferee(journal, rules.build(tokens=sweep.tokens), write=write),
                listener=listener,
                halt=halt,
                queue=queue,
                in_all=len(paused) + len(left),
                checkpoint_url=lambda name: from_folder(below(checkpoints, name), folder),
                prune=superseded.prune,
                stop_on_error=options.on_error == "stop",
                cluster=cluster_size if options.on_a_cluster else None,
                purse=purse,
            )
            param_space[CELL] = tune.grid_search(
                [message_of_cell(cell, journal) for cell in (*paused, *left)]
            )
            _tuner(
                param_space,
                scheduler=scheduler,
                queue=queue,
                halt=halt,
                scratch=scratch,
                means=means,
                callbacks=[
                    _Starts(scheduler),
                    _Waits(on_a_cluster=options.on_a_cluster),
                    *([] if purse is None else [_Dollars(purse, halt=halt, listener=listener)]),
                ],
            ).fit()
            now = {cell.key: cell for cell in journal.cells()}
            left = [
                now[key]
                for key in keys
                if not now[key].status.ended and now[key].status is not Status.FAILED
            ]
    return halt.ending


def _tuner(
    param_space: Mapping[str, Any],
    *,
    scheduler: SweepScheduler,
    queue: CellQueue,
    halt: Halt,
    scratch: Path,
    means: Means,
    callbacks: Sequence[Callback],
) -> Tuner:
    return Tuner(
        tune.with_resources(CellTrainable, {"cpu": means.cpus, "gpu": means.gpus}),
        param_space=dict(param_space),
        tune_config=TuneConfig(
            scheduler=scheduler,
            search_alg=queue,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=RunConfig(
            # A new name each time, so that Tune does not pick up the files of the previous one.
            name=f"tune-{time.time_ns()}",
            # Tune's own snapshots, which nothing reads.
            storage_path=str(scratch.absolute()),
            stop=halt,
            callbacks=[*callbacks, _NoLines()],
            # The scheduler decides what is retried, and how often.
            failure_config=FailureConfig(max_failures=-1),
            checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
            progress_reporter=_Silent(),
            verbose=0,
        ),
    )


def _trial_name(trial: Trial) -> str:
    return str(trial.config[CELL]["key"])


class _Silent(ProgressReporter):
    """In a notebook Tune's own reporter clears what was printed, whatever its verbosity."""

    def should_report(self, trials: list[Trial], done: bool = False) -> bool:
        return False


class _NoLines(Unsaved, TrialProgressCallback):
    """In place of the one that Tune adds, which says of cells that were never started that they are
    completed, whatever its verbosity."""

    def log_result(self, trial: Trial, result: dict[str, Any], error: bool = False) -> None:
        pass

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        pass


class _Starts(Unsaved, Callback):
    """Tells the scheduler that a process has started a cell, which Tune itself does not."""

    def __init__(self, scheduler: SweepScheduler) -> None:
        self._scheduler = scheduler

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        self._scheduler.started(trial.config[CELL]["key"])


class _Dollars(Unsaved, Callback):
    """Shows what the sweep costs, and ends it when its dollars or the cluster's do."""

    def __init__(self, purse: Purse, *, halt: Halt, listener: SweepListener) -> None:
        self._purse, self._halt, self._listener = purse, halt, listener

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        spending, reason = self._purse.look()
        if spending is not None:
            self._listener.paid(spending)
        if reason is not None and self._halt.ending is None:
            # As Ctrl-C does: each process saves its cell before it ends.
            self._halt.ending = Ending(kind=EndKind.DOLLARS, reason=reason)
            self._listener.ending(str(self._halt.ending))


_WAITS_FOR_MACHINES = (
    "no cell is training: cells have been waiting for a machine for %s; they start when one has "
    "room, and `ray status` shows what the cluster is doing"
)
_WAITS_FOR_A_PROCESS = (
    "no cell is training: cells have been waiting for a Ray process to start for %s; for the "
    "reason see raylet.* and python-core-worker-* in ray/session_latest/logs in the temporary "
    "folder; Ctrl-C ends the sweep"
)


class _Waits(Unsaved, Callback):
    """Warns when cells are waiting and none is training."""

    def __init__(self, *, on_a_cluster: bool) -> None:
        # On a busy machine Ray's first process takes a while to start.
        self._waiting = Waiting(time.monotonic, first=20.0 if on_a_cluster else 60.0)
        self._message = _WAITS_FOR_MACHINES if on_a_cluster else _WAITS_FOR_A_PROCESS

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        statuses = {trial.status for trial in trials}
        waits = Trial.PENDING in statuses and Trial.RUNNING not in statuses
        waited = self._waiting.note(waits=waits)
        if waited is not None:
            logger.warning(self._message, duration(waited))


def message_of_cell(cell: CellRecord, journal: Journal) -> dict[str, Any]:
    """What the driver sends to a trial's process about its cell."""
    at_once = wished_at_once(cell.values)
    size = micro_batch_size(journal.failures(cell.key), batch_size=at_once)
    return {
        "key": cell.key,
        "former_key": cell.former_key,
        "values": dict(cell.values),
        "solved": None if cell.solved is None else cell.solved.values(),
        "micro_batch_size": size,
    }


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty folder for Tune's files; anything left by a killed driver is removed first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def interrupts(halt: Halt, tell: Callable[[str], None]) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal end the sweep cleanly; a second signal, immediately.

    `timeout` signals twice in quick succession, which counts once. Signals that the process was
    started to ignore, as with `nohup`, stay ignored. Only the main thread handles signals.

    tell: is called with the reason at once, in a thread of its own: a signal may come in the middle
    of whatever the main thread does, its output included.
    """
    asked_at = -math.inf
    reasons: SimpleQueue[str | None] = SimpleQueue()  # the only queue that a handler may use

    def tell_reason() -> None:
        if (reason := reasons.get()) is not None:
            tell(reason)

    teller = threading.Thread(target=tell_reason, daemon=True)
    teller.start()

    def end(number: int, _: FrameType | None) -> None:
        nonlocal asked_at
        now = time.monotonic()
        if halt.ending is None:
            asked_at = now
            halt.ending = CTRL_C if number == signal.SIGINT else TERMINATED
            reasons.put(halt.ending.reason)
        elif now - asked_at > _SAME_SIGNAL:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in handled((signal.SIGINT, *ENDING))}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        reasons.put(None)
