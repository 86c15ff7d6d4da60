"""Whether one learning rate, set on the baseline, is right for the other cells of a space.

`train` trains every cell at every rate and seed, and appends a line to a file as each run ends;
started again, it trains what is missing. `table` reads such files and states what each cell loses
by the transferred rate instead of its own best.

python -m benchmarks.rate_transfer train runs.jsonl --rates 4e-3,8e-3,16e-3 --seeds 0,1
python -m benchmarks.rate_transfer train runs.jsonl --values '{"parametrization": "depth_mup"}'
python -m benchmarks.rate_transfer table runs.jsonl

Muon and AdamW at two widths and two depths; the swept setting multiplies the rates of both:

python -m benchmarks.rate_transfer train runs.jsonl --cells crossed --swept learning_rate_factor \\
    --rates .25,.5,1,2,4 --values '{"optimizer": "muon", "tokens": 75000}'
python -m benchmarks.rate_transfer plot docs/rate_transfer.png runs.jsonl
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any, Literal

import torch
from cyclopts import App, Parameter
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks.recorded_runs import append, full_score, recorded
from data.prepare import prepare
from model.presets import settings_of
from model.spec import ModelConfig
from search_spaces import quick
from tune_app.plan.cell import Cell
from tune_app.trial.trial import Trial

SHAPES: Mapping[str, Mapping[str, float]] = {
    "25% × 2": {"embedding_ratio": 0.25, "glu_expansion": 2.0},
    "35% × 2.66": {"embedding_ratio": 0.35, "glu_expansion": 2.66},
    "45% × 4": {"embedding_ratio": 0.45, "glu_expansion": 4.0},
}
"""The deepest cell of `quick`, its baseline, and the shallowest."""
BASELINE = "35% × 2.66"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

CROSSED: Mapping[str, ModelConfig] = {
    f"{width} × {depth}": ModelConfig(
        vocab_size=4_096,
        context=128,
        d_model=width,
        n_layers=depth,
        n_heads=2,
        head_dim=width // 2,
        d_ff=round(2.7 * width),
    )
    for depth in (4, 12)
    for width in (56, 112)
}
"""Two widths and two depths, width × layers; they have no common budget."""

app = App(name="python -m benchmarks.rate_transfer", help=__doc__, version_flags=[])


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training, scored on the whole dev split."""

    cell: str
    values: Mapping[str, Any]
    """What differs from the space."""
    learning_rate: float
    seed: int
    bits_per_byte: float = math.nan
    swept: str = "learning_rate"
    """The setting that has the value `learning_rate`."""

    @property
    def kind(self) -> str:
        """What is equal in a comparison of rates."""
        values = json.dumps(self.values, sort_keys=True)
        return values if self.swept == "learning_rate" else f"{values}, {self.swept}"

    @property
    def name(self) -> tuple[str, str, float, int]:
        """What makes it the same run."""
        return (self.cell, self.kind, self.learning_rate, self.seed)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """A cell's scores by rate, and what the transferred rate costs it; bits per byte."""

    scores: Mapping[float, float]
    """Means over seeds, by learning rate."""
    seeds: int
    best_rate: float
    fitted_rate: float
    """Vertex of a parabola in log rate through the best score and its neighbours; the best rate
    itself at an end of the range."""
    loss: float
    """Of the transferred rate, against the best score."""


@app.command
def train(
    file: Path,
    *,
    rates: Annotated[str, Parameter(help="Learning rates of the baseline.")] = "4e-3,8e-3,16e-3",
    seeds: Annotated[str, Parameter(help="Seeds.")] = "0",
    values: Annotated[str, Parameter(help="Other values of the cells, as JSON.")] = "{}",
    cells: Annotated[
        str, Parameter(help="Some of the cells, by name, or crossed: two widths and two depths.")
    ] = ",".join(SHAPES),
    swept: Annotated[
        Literal["learning_rate", "learning_rate_factor", "muon_learning_rate"],
        Parameter(help="The setting that takes the rates."),
    ] = "learning_rate",
    threads: int = 1,
) -> None:
    """Train what is missing in the file."""
    torch.set_num_threads(threads)
    names = list(CROSSED) if cells == "crossed" else cells.split(",")
    done = {run.name for run in _runs([file])} if file.exists() else set()
    for seed in map(int, seeds.split(",")):
        for rate in map(float, rates.split(",")):
            for cell in names:
                run = Run(
                    cell=cell,
                    values=json.loads(values),
                    learning_rate=rate,
                    seed=seed,
                    swept=swept,
                )
                if run.name not in done:
                    _append(file, run, _trained(run))


@app.command
def table(*files: Path, sigma: float | None = None) -> None:
    """Print each cell's scores by rate, and its loss from the transferred rate.

    Parameters
    ----------
    files
        Written by `train`.
    sigma
        Seed noise in bits per byte, to state losses in it; by default that of the runs.
    """
    runs = list(_runs(files))
    noise = sigma or seed_noise(runs)
    console = Console()
    for values in dict.fromkeys(run.name[1] for run in runs):
        found = _transfers([run for run in runs if run.kind == values])
        rates = sorted({rate for one in found.values() for rate in one.scores})
        shown = Table(title=f"{values}, σ = {noise:.4f}", title_justify="left")
        for column in ("cell", *(f"{rate:g}" for rate in rates), "seeds", "fitted", "loss", "σ"):
            shown.add_column(column, justify="left" if column == "cell" else "right")
        for name, one in found.items():
            scores = (f"{one.scores[r]:.4f}" if r in one.scores else "" for r in rates)
            loss = (f"{one.loss:.4f}", f"{one.loss / noise:.1f}")
            shown.add_row(name, *scores, str(one.seeds), f"{one.fitted_rate:.2g}", *loss)
        console.print(shown)
        worst = max(found, key=lambda name: found[name].loss)
        console.print(f"worst: {worst}, {found[worst].loss:.4f} bits per byte")
        console.print(f"the optima lie apart by a factor of {apart(found):.2f}\n")


@app.command
def plot(picture: Path, *files: Path) -> None:
    """Draw the scores of each cell by rate, a panel for each optimiser or other values.

    Parameters
    ----------
    picture
        PNG file to write.
    files
        Written by `train`.
    """
    runs = list(_runs(files))
    kinds = list(dict.fromkeys(run.kind for run in runs))
    figure = Figure(figsize=(4.8 * len(kinds), 4.2), layout="constrained")
    for ax, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        these = [run for run in runs if run.kind == kind]
        found = _transfers(these)
        for colour, (cell, one) in zip(COLOURS, found.items(), strict=False):
            ax.plot(list(one.scores), list(one.scores.values()), "o-", color=colour, label=cell)
            ax.axvline(one.fitted_rate, color=colour, linewidth=0.8, linestyle=":")
        optimizer = these[0].values.get("optimizer", "adamw")
        rates = sorted({rate for one in found.values() for rate in one.scores})
        ax.set(xscale="log", xlabel=these[0].swept.replace("_", " "), ylabel="bits per byte")
        ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
        ax.minorticks_off()
        ax.set_title(f"{optimizer}: optima apart by a factor of {apart(found):.2f}", fontsize=10)
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + 0.25 * (high - low))  # room for the legend
        title = "width × layers" if set(found) <= set(CROSSED) else None
        ax.legend(title=title, loc="upper center", ncols=2, framealpha=1, edgecolor="none")
    figure.savefig(picture, dpi=150)


def apart(found: Mapping[str, Transfer]) -> float:
    """The greatest fitted optimum over the least."""
    rates = [one.fitted_rate for one in found.values()]
    return max(rates) / min(rates)


def _transfers(runs: Sequence[Run]) -> dict[str, Transfer]:
    """By cell, against the baseline, or where it is not among them the first cell."""
    cells = [run.cell for run in runs]
    return transfers(runs, baseline=BASELINE if BASELINE in cells else cells[0])


def transfers(runs: Sequence[Run], *, baseline: str) -> dict[str, Transfer]:
    """By cell, the scores at each rate and the loss from the rate that is best for the baseline."""
    scores: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        scores[run.cell][run.learning_rate].append(run.bits_per_byte)
    means = {
        cell: {rate: fmean(found) for rate, found in sorted(by_rate.items())}
        for cell, by_rate in scores.items()
    }
    transferred = min(means[baseline], key=means[baseline].__getitem__)
    return {
        cell: Transfer(
            scores=by_rate,
            seeds=min(map(len, scores[cell].values())),
            best_rate=(best := min(by_rate, key=by_rate.__getitem__)),
            fitted_rate=_vertex(by_rate, best),
            loss=by_rate.get(transferred, math.nan) - by_rate[best],
        )
        for cell, by_rate in means.items()
    }


def seed_noise(runs: Sequence[Run]) -> float:
    """Standard deviation over seeds, pooled over all cells and rates with two or more."""
    groups: dict[tuple[str, str, float], list[float]] = defaultdict(list)
    for run in runs:
        groups[run.name[:3]].append(run.bits_per_byte)
    several = [group for group in groups.values() if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    if not freedom:
        return math.nan
    return math.sqrt(sum(stdev(group) ** 2 * (len(group) - 1) for group in several) / freedom)


def _vertex(scores: Mapping[float, float], best: float) -> float:
    rates = sorted(scores)
    at = rates.index(best)
    if not 0 < at < len(rates) - 1:
        return best
    (x0, x1, x2), (y0, y1, y2) = zip(
        *((math.log(rate), scores[rate]) for rate in rates[at - 1 : at + 2]), strict=True
    )
    left, right = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    curvature = (right - left) / (x2 - x0)
    return math.exp((x0 + x1) / 2 - left / (2 * curvature)) if curvature > 0 else best


def _trained(run: Run) -> float:
    crossed = CROSSED.get(run.cell)
    shape = SHAPES[run.cell] if crossed is None else settings_of(crossed)
    values = {
        **quick.FIXED,
        **shape,
        "compile": "off",
        "evaluations": 1,
        run.swept: run.learning_rate,
        "seed": run.seed,
        **run.values,
    }
    shared = {name: values[name] for name in ("n_heads", "target_parameters") if name in values}
    if crossed is not None:
        shared = shape  # of another depth and width there may be no model of this budget
    trial = Trial(
        Cell.from_values({**values, "baseline": shared}),
        corpora=lambda tokenizer: prepare(values.get("corpus", "stdlib"), tokenizer),
    )
    return full_score(trial)


def _append(file: Path, run: Run, score: float) -> None:
    append(file, {**vars(run), "bits_per_byte": score})
    print(f"{run.cell}  {run.learning_rate:g}  seed {run.seed}  {score:.4f}", flush=True)


def _runs(files: Sequence[Path]) -> Iterator[Run]:
    for line in recorded(files):
        yield Run(**line)


if __name__ == "__main__":
    app()
