"""How far the solver's choice among admissible shapes moves a score.

`train` trains some cells of `quick` at up to six shapes each, spread over what the tolerances
admit, on several seeds, and appends a line to a file as each run ends; started again, it trains
what is missing. `table` reads such files and states the spread.

python -m benchmarks.shape_choice train runs.jsonl --seeds 0,1
python -m benchmarks.shape_choice table runs.jsonl
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from benchmarks.recorded_runs import append, full_score, recorded
from data.prepare import prepare
from model.sizing.budget import solve
from model.sizing.cost import training_flops_per_token
from model.sizing.search import alternatives
from model.spec import ModelConfig, ModelSpec
from tune_app.plan.cell import Cell
from tune_app.plan.solved import SolvedModels
from tune_app.plan.space import expand
from tune_app.plan.space_file import load_space
from tune_app.trial.trial import Trial

CELLS = ("25% × 2", "35% × 2.66", "45% × 4")
NEAR = 1.5
"""A rule would hardly take attention more than this many times wider or narrower than the model, so
the spread is also stated without such shapes."""

app = App(name="python -m benchmarks.shape_choice", help=__doc__, version_flags=[])


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training, scored on the whole dev split."""

    cell: str
    seed: int
    d_model: int
    n_layers: int
    d_attention: int
    d_ff: int
    chosen: bool
    """Whether the solver takes this shape."""
    settings: Mapping[str, Any]
    """What decides the training besides the shape."""
    flops_per_token: int = 0
    bits_per_byte: float = math.nan
    seconds: float = math.nan

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (self.d_model, self.n_layers, self.d_attention, self.d_ff)

    @property
    def name(self) -> tuple[Any, ...]:
        """What makes it the same run."""
        return (self.cell, self.seed, self.shape, json.dumps(self.settings, sort_keys=True))


@app.command
def train(
    file: Path,
    *,
    seeds: Annotated[str, Parameter(help="Seeds.")] = "0,1",
    values: Annotated[str, Parameter(help="Other values of the cells, as JSON.")] = "{}",
    cells: Annotated[str, Parameter(help="Some of the cells, by name, in this order.")] = ",".join(
        CELLS
    ),
    threads: int = 1,
) -> None:
    """Train what is missing in the file."""
    torch.set_num_threads(threads)
    done = {run.name for run in _runs([file])} if file.exists() else set()
    for seed in map(int, seeds.split(",")):
        planned = _cells({**json.loads(values), "evaluations": 1})
        for name in cells.split(","):
            cell = planned[name].with_seed(seed)
            for config in spread_shapes(cell.model):
                run = _run(name, cell, config)
                if run.name not in done:
                    _append(file, run, cell, config)


@app.command
def shapes() -> None:
    """List the shapes that would be trained."""
    for name, cell in _cells({}).items():
        for config in spread_shapes(cell.model):
            print(name, _run(name, cell, config).shape, config == solve(cell.model))


@app.command
def table(*files: Path, sigma: float | None = None) -> None:
    """Print each shape's scores, and the spread over the shapes of each cell.

    Parameters
    ----------
    files
        Written by `train`.
    sigma
        Seed noise in bits per byte; by default that of the runs.
    """
    runs = list(_runs(files))
    noise = sigma or seed_noise(runs)
    shown = Table(title=f"σ over seeds = {noise:.4f}", title_justify="left")
    for column in ("cell", "width × depth", "attention / width", "MFLOPs/token", "seeds"):
        shown.add_column(column, justify="left" if column == "cell" else "right")
    for column in ("bits per byte", "against the chosen", "seconds"):
        shown.add_column(column, justify="right")
    cells = dict.fromkeys(run.cell for run in runs)
    for cell in cells:
        own = [run for run in runs if run.cell == cell]
        chosen = fmean(run.bits_per_byte for run in own if run.chosen)
        for shape in sorted({run.shape for run in own}, key=lambda shape: shape[1::-1]):
            same = [run for run in own if run.shape == shape]
            mean = fmean(run.bits_per_byte for run in same)
            shown.add_row(
                cell,
                f"{shape[0]} × {shape[1]}",
                f"{shape[2] / shape[0]:.2f}",
                f"{same[0].flops_per_token / 1e6:.2f}",
                str(len(same)),
                f"{mean:.4f}",
                "chosen" if same[0].chosen else f"{mean - chosen:+.4f}",
                f"{fmean(run.seconds for run in same):.0f}",
            )
    console = Console()
    console.print(shown)
    for what, near in (("all shapes", math.inf), (f"attention within a factor of {NEAR:g}", NEAR)):
        found = {cell: spread(runs, cell, near=near) for cell in cells}
        texts = (f"{cell} {one:.4f}" for cell, one in found.items())
        console.print(f"spread over {what}: {', '.join(texts)}")


def spread_shapes(spec: ModelSpec, *, near: int = 3, far: int = 2) -> list[ModelConfig]:
    """Shapes of a cell that are far apart, the chosen one first.

    Besides the chosen one, `near` of those whose attention is about as wide as the model, and `far`
    of all, each the one that is least like those before. Distance is in the logarithms of depth,
    width and attention's width. Only the best sizes of each width and depth are considered.
    """
    found = dict.fromkeys([solve(spec), *alternatives(spec)])
    widths = range(min(c.d_model for c in found) - 8, max(c.d_model for c in found) + 9)
    for width in widths:
        found |= dict.fromkeys(alternatives(replace(spec, d_model=width)))
    taken = [solve(spec)]
    for number, within in ((near, NEAR), (far, math.inf)):
        for _ in range(number):
            others = [one for one in found if one not in taken and _is_near(one, within)]
            if others:
                taken.append(max(others, key=lambda one: min(_distance(one, t) for t in taken)))
    return [taken[0], *sorted(taken[1:], key=lambda one: (one.n_layers, one.d_model))]


def spread(runs: Sequence[Run], cell: str, *, near: float = math.inf) -> float:
    """The worst shape's mean score less the best one's, in bits per byte."""
    scores: dict[tuple[int, ...], list[float]] = defaultdict(list)
    for run in runs:
        if run.cell == cell and _is_near(run, near):
            scores[run.shape].append(run.bits_per_byte)
    means = [fmean(found) for found in scores.values()]
    return max(means) - min(means) if means else math.nan


def seed_noise(runs: Sequence[Run]) -> float:
    """Standard deviation over seeds, pooled over all shapes with two or more."""
    groups: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for run in runs:
        groups[run.cell, run.shape].append(run.bits_per_byte)
    several = [group for group in groups.values() if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    if not freedom:
        return math.nan
    return math.sqrt(sum(stdev(group) ** 2 * (len(group) - 1) for group in several) / freedom)


def _is_near(shape: Run | ModelConfig, within: float) -> bool:
    """Whether attention is at most so many times wider or narrower than the model."""
    return abs(math.log(shape.d_attention / shape.d_model)) <= math.log(within)


def _distance(one: ModelConfig, other: ModelConfig) -> float:
    return math.hypot(
        *(
            math.log(getattr(one, size) / getattr(other, size))
            for size in ("n_layers", "d_model", "d_attention")
        )
    )


def _cells(values: Mapping[str, Any]) -> dict[str, Cell]:
    cells = expand(load_space("quick"), {"compile": "off", **values}, seeds=[0]).cells
    names = {
        f"{100 * (cell.model.embedding_ratio or 0):g}% × {cell.model.glu_expansion:g}": cell
        for cell in cells
    }
    return {name: names[name] for name in CELLS}


def _run(name: str, cell: Cell, config: ModelConfig) -> Run:
    settings = {k: v for k, v in cell.values().items() if k in SETTINGS}
    return Run(
        cell=name,
        seed=cell.seed,
        d_model=config.d_model,
        n_layers=config.n_layers,
        d_attention=config.d_attention,
        d_ff=config.d_ff,
        chosen=config == solve(cell.model),
        settings=settings,
        flops_per_token=training_flops_per_token(config),
    )


SETTINGS = (
    "tokens",
    "batch_size",
    "learning_rate",
    "embedding_rate",
    "parametrization",
    "schedule",
    "warmup_fraction",
    "weight_decay",
    "betas",
)


def _append(file: Path, run: Run, cell: Cell, config: ModelConfig) -> None:
    began = time.process_time()
    trial = Trial(
        cell,
        corpora=lambda tokenizer: prepare(cell.settings.corpus, tokenizer),
        solved=SolvedModels(model=config, baseline=solve(cell.baseline)),
    )
    score = full_score(trial)
    line = {**vars(run), "bits_per_byte": score, "seconds": time.process_time() - began}
    append(file, line)
    print(f"{run.cell}  {run.shape}  seed {run.seed}  {score:.4f}", flush=True)


def _runs(files: Sequence[Path]) -> Iterator[Run]:
    for line in recorded(files):
        yield Run(**line)


if __name__ == "__main__":
    app()
