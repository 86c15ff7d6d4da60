"""What Ray Tune costs: the same trials with and without it, on the same CPUs and threads.

A round trains the baseline on a few seeds twice: as a sweep of one cell at a time by
tune_app.on_ray.tuner.run_cells (no scheduler, no kill rule, journal and checkpoints on disk), and
by tune_app.trial.Trial alone (the same checkpoints), one trial after another. Each of the two has a
new process and the machine to itself; which goes first alternates between rounds.

Throughput is tokens over wall time between a trial's first and last observation, on the clock of
the receiver: the sweep's driver, after the journal has them, or the caller of Trial.advance.
Evaluation (Observation.seconds) is the same work in both and is left out, because it would hide a
part of what Tune costs; a second line includes it. Ratios are taken trial by trial in a round. The
machine must be idle: Ray runs its workers at niceness 15, so other programs take CPU time from
Tune's side first.

Starts, in seconds. A trial's first step began when its first observation arrived, minus the seconds
that it reports for training and evaluation. The way to the driver counts as start, and so does an
earlier checkpoint (there is none in models of about 1M).
  sweep          from before Ray's import, to the call of run_cells, to the moment in which
                 ray.is_initialized()
  first trial    from there, to the actor being ready (Tune's preparations, the actor, its
                 imports), to its first step (data, model); alone: from the process being asked
                 for, to all imports done, to the first step
  next trial     from the last observation of the trial before to the first step: the actor is
                 reused; alone: in the same process

python -m benchmarks.tune_overhead --rounds 3
"""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from cyclopts import App
from rich.console import Console

from data.prepared import PreparedCorpus
from tune_app.cluster.options import Means, RunOptions
from tune_app.journal.journal import Journal
from tune_app.journal.listener import QuietListener
from tune_app.journal.records import CellRecord, Decision, Failure, Observation
from tune_app.plan.cell import Cell
from tune_app.plan.plan import SweepPlan, make_plan
from tune_app.plan.space_file import load_space
from tune_app.plan.wishes import Count, Wishes
from tune_app.stopping.all_rules import StoppingRules
from tune_app.stopping.kill_rule import KillRule
from tune_app.stores.path import PathStore
from tune_app.trial.checkpoint_interval import CheckpointTiming
from tune_app.trial.checkpoints import Checkpoints
from tune_app.trial.trial import Trial

MODULE = "benchmarks.tune_overhead"
JOURNAL = "journal.sqlite3"
NO_RULES = StoppingRules(kill_rule=KillRule(unit="off"), scheduler=None)

app = App(name=f"python -m {MODULE}", help=__doc__, help_format="plaintext", version_flags=[])


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """When an observation arrived, and what it says."""

    at: float
    """Seconds of the machine's monotonic clock, which all processes share."""
    tokens: int
    seconds: Mapping[str, float]
    """Spent by phase, from the trial's start on."""

    @property
    def first_step(self) -> float:
        """When training began, from the first observation of a trial."""
        return self.at - sum(self.seconds[phase] for phase in ("compile", "train", "evaluate"))


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one of the two processes recorded of its trials."""

    asked: float
    """When the sweep, or the process of the trials alone, was started."""
    imported: float
    """When its imports were done."""
    connected: float | None = None
    """When Ray was up; None without Ray."""
    ready: float | None = None
    """When the first actor was ready; None without Ray."""
    trials: Mapping[str, Sequence[Arrival]] = field(default_factory=dict)
    """By the cell's key, in the order in which they ran."""

    @classmethod
    def from_json(cls, text: str) -> Run:
        values = json.loads(text)
        trials = {
            key: [Arrival(**arrival) for arrival in arrivals]
            for key, arrivals in values.pop("trials").items()
        }
        return cls(**values, trials=trials)


def throughput(arrivals: Sequence[Arrival], *, evaluation: bool) -> float:
    """Tokens a second between the first and the last observation, with or without evaluation."""
    first, last = arrivals[0], arrivals[-1]
    seconds = last.at - first.at
    if not evaluation:
        seconds -= last.seconds["evaluate"] - first.seconds["evaluate"]
    return (last.tokens - first.tokens) / seconds


def next_starts(run: Run) -> list[float]:
    """Seconds from the end of each trial to the first step of the one after it."""
    trials = list(run.trials.values())
    return [after[0].first_step - before[-1].at for before, after in itertools.pairwise(trials)]


class Arrivals(QuietListener):
    """Records when the driver receives what."""

    def __init__(self) -> None:
        self.ready: float | None = None
        self.trials: dict[str, list[Arrival]] = {}
        self.failures: list[Failure] = []

    def cell_started(self, cell: CellRecord) -> None:
        if self.ready is None:
            self.ready = time.monotonic()
        self.trials[cell.key] = []

    def observed(self, observation: Observation, decision: Decision | None) -> None:
        self.trials[observation.cell].append(_arrival(observation))

    def cell_failed(self, failure: Failure) -> None:
        self.failures.append(failure)


@app.default
def compare(
    *,
    rounds: int = 3,
    tokens: Count = 60_000,
    trials: int = 3,
    threads: int = 2,
    target_parameters: Count = None,
    vocab_size: Count = None,
    corpus: str = "stdlib",
) -> None:
    """Run the trials with and without Ray in turns, and print what that took.

    Parameters
    ----------
    rounds
        Number of sweeps, and of runs of the trials alone.
    tokens
        Tokens per trial, e.g. 60k.
    trials
        Trials per sweep; all after the first reuse its actor.
    threads
        CPU threads of a trial, and the CPUs that Ray reserves for it.
    target_parameters
        Parameters of the model, e.g. 10M; default as in the space quick.
    vocab_size
        Tokens of the tokenizer, e.g. 16k; default as in the space quick.
    corpus
        A name or a path that data.prepare knows.
    """
    if trials < 2:
        raise ValueError(f"{trials} trials show no reused actor; take at least 2")
    wanted = {
        "tokens": tokens,
        "target_parameters": target_parameters,
        "vocab_size": vocab_size,
        "corpus": corpus,
    }
    plan = _plan({name: value for name, value in wanted.items() if value is not None}, trials)
    # Imported here so that the trials alone do not pay for it when they start.
    from tune_app.sweep.corpora import prepared_corpora, sweep_record  # noqa: PLC0415

    corpora = prepared_corpora(plan, Console())
    record = sweep_record(plan, NO_RULES, corpora, command="")
    folders = json.dumps({key: str(corpus.folder) for key, corpus in corpora.items()})
    runs: dict[str, list[Run]] = {"tune": [], "alone": []}
    with tempfile.TemporaryDirectory(prefix="tune_overhead_") as temporary:
        for number in range(rounds):
            order = list(runs) if number % 2 == 0 else list(reversed(runs))
            for name in order:
                folder = Path(temporary) / f"{number}_{name}"
                Journal.create(folder / JOURNAL, record, plan.cells).close()
                (folder / "checkpoints").mkdir()
                print(f"round {number + 1} of {rounds}: {name}", flush=True)
                runs[name].append(_run(name, folder, folders, threads))
    _print(plan, runs, threads=threads)


def _plan(values: Mapping[str, Any], trials: int) -> SweepPlan:
    """The baseline of the space quick on as many seeds as there are trials."""
    space = replace(load_space("quick"), axes={"embedding_ratio": [0.35]})
    wishes = Wishes(set=tuple(values.items()), seeds=tuple(range(trials)))
    plan = make_plan(space, wishes)
    cell = plan.baseline.values
    step = cell["batch_size"] * cell["context"]
    if math.ceil(plan.tokens / step) < cell["evaluations"]:
        raise ValueError(
            f"{plan.tokens:,} tokens are fewer steps than the {cell['evaluations']} evaluations of "
            f"a trial; take at least {step * cell['evaluations']:,}"
        )
    return plan


def _run(name: str, folder: Path, corpora: str, threads: int) -> Run:
    asked = time.monotonic()
    output = subprocess.run(
        [sys.executable, "-m", MODULE, name, str(folder), corpora, str(threads), str(asked)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Run.from_json(output.stdout.splitlines()[-1])


@app.command(show=False)
def tune(folder: Path, corpora: str, threads: int, _: float) -> None:
    """One sweep of the journal's cells; prints its Run as JSON."""
    # A driver imports this before Ray.
    import tune_app.sweep.run  # noqa: F401, PLC0415

    asked = time.monotonic()
    import ray  # noqa: PLC0415

    from tune_app.on_ray.cluster import connected  # noqa: PLC0415
    from tune_app.on_ray.tuner import run_cells  # noqa: PLC0415

    there: list[float] = []

    def watch() -> None:
        while not ray.is_initialized():
            time.sleep(0.005)
        there.append(time.monotonic())

    threading.Thread(target=watch, daemon=True).start()
    arrivals = Arrivals()
    imported = time.monotonic()
    local = connected(None, cpus=threads, gpus=0.0, show=False)
    with Journal.open(folder / JOURNAL) as journal, local:
        cells = journal.cells()
        ended_by = run_cells(
            cells,
            journal,
            folder=folder,
            checkpoints=str(folder / "checkpoints"),
            timing=CheckpointTiming(),
            corpora={key: Path(path) for key, path in json.loads(corpora).items()},
            tokens=None,
            listener=arrivals,
            options=RunOptions(cpus=threads),
            means=Means(cells_at_once=1, cpus=threads, gpus=0.0, device="cpu"),
        )
    if ended_by is not None or arrivals.failures:
        raise RuntimeError(ended_by or arrivals.failures[0].traceback)
    run = Run(
        asked=asked,
        imported=imported,
        connected=there[0],
        ready=arrivals.ready,
        trials=arrivals.trials,
    )
    print(json.dumps(asdict(run)))


@app.command(show=False)
def alone(folder: Path, corpora: str, threads: int, asked: float) -> None:
    """The journal's cells one after another without Ray; prints the Run as JSON."""
    imported = time.monotonic()
    torch.set_num_threads(threads)
    paths = json.loads(corpora)
    with Journal.open(folder / JOURNAL, read_only=True) as journal:
        cells = journal.cells()
    trials: dict[str, list[Arrival]] = {}
    for cell in cells:
        trial = Trial(
            Cell.from_values(cell.values),
            corpora=lambda tokenizer: PreparedCorpus.open(Path(paths[tokenizer.key])),
            checkpoints=Checkpoints(PathStore(folder / "checkpoints"), cell=cell.key),
            device="cuda" if torch.cuda.is_available() else "cpu",
        )
        arrivals = trials.setdefault(cell.key, [])
        while not trial.finished:
            observation = trial.advance()
            assert observation is not None, "there is no limit of time"
            arrivals.append(_arrival(observation))
    print(json.dumps(asdict(Run(asked=asked, imported=imported, trials=trials))))


def _arrival(observation: Observation) -> Arrival:
    return Arrival(
        at=time.monotonic(), tokens=observation.tokens, seconds=dict(observation.seconds)
    )


def _print(plan: SweepPlan, runs: Mapping[str, Sequence[Run]], *, threads: int) -> None:
    cell, parameters = plan.baseline.values, plan.baseline.parameters
    assert parameters is not None, "an infeasible baseline is refused by the plan"
    cpu = torch.cpu.get_capabilities()
    rounds, trials = len(runs["tune"]), len(plan.cells)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "ray"))
    print(
        f"\n{parameters['total']:,} parameters, vocabulary {cell['vocab_size']:,}, "
        f"{cell['batch_size']} × {cell['context']} tokens a step, {plan.tokens:,} tokens and "
        f"{cell['evaluations']} evaluations a trial\n"
        f"{cpu.get('cpu_name')}, {os.cpu_count()} CPUs, {threads} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, {device}, {versions}\n"
        f"median (range) of {rounds} rounds of {trials} trials\n\n"
        f"{'tokens/s, first to last observation':38}{'under Tune':>22}{'alone':>22}"
        f"{'Tune / alone':>22}"
    )
    for name, evaluation in (("training", False), ("training and evaluation", True)):
        tune_speeds, alone_speeds = (
            [throughput(trial, evaluation=evaluation) for trial in _trials(runs[side])]
            for side in ("tune", "alone")
        )
        each = [a / b for a, b in zip(tune_speeds, alone_speeds, strict=True)]
        print(
            f"{'  ' + name:38}{_spread(tune_speeds, ',.0f')}{_spread(alone_speeds, ',.0f')}"
            f"{_spread(each, '.3f')}"
        )
    print(f"\n{'start, seconds':38}{'under Tune':>22}{'alone':>22}")
    for name, tune_seconds, alone_seconds in _starts(runs["tune"], runs["alone"]):
        print(f"{name:38}{_spread(tune_seconds, '.2f')}{_spread(alone_seconds, '.2f')}")


def _starts(
    tuned: Sequence[Run], alone_runs: Sequence[Run]
) -> list[tuple[str, list[float], list[float]]]:
    """(name, seconds under Tune, seconds alone) of each start and of its parts."""
    imports, connects, actors, builds = [], [], [], []
    for run in tuned:
        assert run.connected is not None and run.ready is not None, "a sweep notes both"
        imports.append(run.imported - run.asked)
        connects.append(run.connected - run.imported)
        actors.append(run.ready - run.connected)
        builds.append(_first_step(run) - run.ready)
    processes = [run.imported - run.asked for run in alone_runs]
    builds_alone = [_first_step(run) - run.imported for run in alone_runs]
    return [
        ("sweep", _sums(imports, connects), []),
        ("  import Ray", imports, []),
        ("  start Ray", connects, []),
        ("first trial", _sums(actors, builds), _sums(processes, builds_alone)),
        ("  process and imports", actors, processes),
        ("  data and model", builds, builds_alone),
        (
            "next trial, process reused",
            [seconds for run in tuned for seconds in next_starts(run)],
            [seconds for run in alone_runs for seconds in next_starts(run)],
        ),
    ]


def _first_step(run: Run) -> float:
    first = next(iter(run.trials.values()))
    return first[0].first_step


def _trials(runs: Sequence[Run]) -> list[Sequence[Arrival]]:
    return [trial for run in runs for trial in run.trials.values()]


def _sums(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [a + b for a, b in zip(first, second, strict=True)]


def _spread(values: Sequence[float], style: str) -> str:
    """`median (least-greatest)` in a column, or a dash where there is nothing to measure."""
    if not values:
        return f"{'–':>22}"
    text = f"{median(values):{style}} ({min(values):{style}}-{max(values):{style}})"
    return f"{text:>22}"


if __name__ == "__main__":
    app()
