"""Every feed-forward, embedding and tokenizer on one corpus, at equal parameters, width and depth.

`train` trains each at about 1M parameters on equal text, each run in a process of its own, and
appends a line to a file as it ends; started again, it trains what is missing. `table` reads such
files: bits per byte of the full dev split with a 95 % interval, the difference from SwiGLU with a
tied embedding on the same seeds, speed, parameters, and the memory that training adds at its peak.

All have one learning rate, carried to each by the parametrization: none is tuned to its variant.
The inner width absorbs what a variant costs elsewhere; `moe, active` has more parameters that a
token does not use.

python -m benchmarks.variant_table train runs.jsonl --corpus reviews.jsonl --seeds 0,1,2
python -m benchmarks.variant_table table runs.jsonl
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from benchmarks.recorded_runs import append, recorded, trained
from benchmarks.variants import LOOP, VARIANTS
from data.prepare import prepare
from model.sizing.counts import count_parameters
from search_spaces import quick
from tune_app.plan.cell import Cell
from tune_app.statistics.intervals import student_quantile
from tune_app.statistics.paired import block_noise, paired
from tune_app.trial.trial import Trial

BASE = "swiglu"
SHARED: Mapping[str, Any] = {
    **quick.FIXED,
    **{"target_parameters": 1_000_000, "d_model": 80, "n_layers": 8, "tokens": 300_000},
    **{"embedding_ratio": None, "glu_expansion": None, "compile": "off", "evaluations": 1},
}
CONTENDERS: Mapping[str, Mapping[str, Any]] = {
    **{name: values for name, values in VARIANTS.items() if not name.endswith(LOOP)},
    "untied": {"embedding": "untied"},
    f"{BASE}, superbpe": {"tokenizer": "superbpe"},
}
"""What differs from SHARED."""
_LEVEL = 0.95

app = App(name="python -m benchmarks.variant_table", help=__doc__, version_flags=[])


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training, scored on the full dev split."""

    key: str
    """Of its cell."""
    variant: str
    seed: int
    corpus: str
    tokens: int
    """Baseline tokens: the same text for all."""
    own_tokens: int
    tokens_per_byte: float
    """Of dev, by its own tokenizer."""
    bits_per_byte: float
    tokens_per_second: float
    """Own tokens over the wall time of training, without evaluation."""
    cpu_seconds: float
    """Of the whole run."""
    parameters: int
    active: int
    memory_mib: float
    """What training adds to the process at its peak."""


@app.command
def train(
    file: Path,
    *,
    corpus: Annotated[str, Parameter(help="A corpus name, or a path.")] = "stdlib",
    seeds: Annotated[str, Parameter(help="Seeds.")] = "0,1,2",
    variants: Annotated[str, Parameter(help="Some of them, separated by semicolons.")] = "",
    values: Annotated[str, Parameter(help="Other values of all cells, as JSON.")] = "{}",
    threads: int = 1,
) -> None:
    """Train what is missing in the file, seed by seed."""
    chosen = [name.strip() for name in variants.split(";") if name.strip()] or list(CONTENDERS)
    if unknown := [name for name in chosen if name not in CONTENDERS]:
        raise ValueError(f"unknown variant {unknown[0]!r}; known: {'; '.join(CONTENDERS)}")
    done = {run.key for run in _runs([file])} if file.exists() else set()
    for seed in map(int, seeds.split(",")):
        for name in chosen:
            told = json.dumps({**json.loads(values), "corpus": corpus, "seed": seed})
            if cell_of(name, json.loads(told)).key in done:
                continue
            worker = [sys.executable, "-m", "benchmarks.variant_table", "one", name, told]
            made = subprocess.run(
                [*worker, str(threads)], stdout=subprocess.PIPE, text=True, check=True
            )
            run = Run(**json.loads(made.stdout.splitlines()[-1]))
            append(file, asdict(run))
            print(f"{run.variant:24} seed {run.seed}  {run.bits_per_byte:.4f}", flush=True)


@app.command(show=False)
def one(variant: str, values: str, threads: int) -> None:
    """Train one, in this process; the last line of output is its Run."""
    torch.set_num_threads(threads)
    cell = cell_of(variant, json.loads(values))
    prepared = prepare(cell.settings.corpus, cell.tokenizer)
    before = _peak_memory()
    began = time.process_time()
    trial = Trial(cell, corpora=lambda spec: prepare(cell.settings.corpus, spec))
    last = trained(trial)
    score = math.inf if last is None else last.metrics["full_bits_per_byte"]
    seconds = math.nan if last is None else last.seconds["train"]
    count = count_parameters(trial.config)
    run = Run(
        key=cell.key,
        variant=variant,
        seed=cell.seed,
        corpus=cell.settings.corpus,
        tokens=cell.settings.tokens,
        own_tokens=trial.tokens,
        tokens_per_byte=1 / prepared.bytes_per_token("dev"),
        bits_per_byte=score,
        tokens_per_second=trial.tokens / seconds,
        cpu_seconds=time.process_time() - began,
        parameters=count.total,
        active=count.active,
        memory_mib=(_peak_memory() - before) / 1024,
    )
    print(json.dumps(asdict(run)), flush=True)


@app.command
def table(*files: Path) -> None:
    """Print each variant's scores, and its difference from SwiGLU on the same seeds."""
    runs = list(_runs(files))
    for corpus, tokens in dict.fromkeys((run.corpus, run.tokens) for run in runs):
        same = [run for run in runs if (run.corpus, run.tokens) == (corpus, tokens)]
        shown = Table(
            title=f"{tokens:,} baseline tokens of {corpus}; bits per byte of the full dev split",
            title_justify="left",
        )
        for column in _COLUMNS:
            shown.add_column(column, justify="left" if column == "variant" else "right")
        for row in table_rows(same):
            shown.add_row(*row)
        Console(width=160).print(shown)


_COLUMNS = (
    *("variant", "seeds", "bits per byte", f"against {BASE}", "parameters", "active"),
    *("tokens/s", "speed", "peak MiB", "tokens/byte"),
)


def table_rows(runs: Sequence[Run]) -> Iterator[tuple[str, ...]]:
    """A row for each variant, the lowest score first; speed and memory are medians over seeds.

    Intervals are of the noise that seeds leave once each seed's own part is taken away, pooled over
    all variants.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.variant, []).append(run)
    scores = {
        name: {run.seed: run.bits_per_byte for run in group} for name, group in groups.items()
    }
    noise = block_noise(list(scores.values()), of="these runs")
    for name in sorted(groups, key=lambda name: fmean(scores[name].values())):
        group = groups[name]
        half = math.nan
        if noise is not None:
            quantile = student_quantile(noise.degrees_of_freedom, 0.5 + _LEVEL / 2)
            half = quantile * noise.sigma / math.sqrt(len(group))
        against = None
        if name != BASE and BASE in scores:
            against = paired(scores[BASE], scores[name], noise=noise, level=_LEVEL)
        speed = median(run.tokens_per_second for run in group)
        base = median(run.tokens_per_second for run in groups.get(BASE, group))
        yield (
            name,
            str(len(group)),
            f"{fmean(scores[name].values()):.4f} ± {half:.4f}",
            ""
            if against is None
            else f"{against.by:+.4f} ({against.interval[0]:+.4f} to {against.interval[1]:+.4f})",
            f"{group[0].parameters:,}",
            f"{group[0].active:,}",
            f"{speed:,.0f}",
            f"{speed / base:.2f}",
            f"{median(run.memory_mib for run in group):.0f}",
            f"{group[0].tokens_per_byte:.4f}",
        )


def cell_of(variant: str, values: Mapping[str, Any]) -> Cell:
    """The cell of a variant; the learning rate is carried from SwiGLU with a tied embedding."""
    shared = {**SHARED, **values}
    sizes = ("target_parameters", "n_heads", "d_model", "n_layers", "vocab_size", "context")
    baseline = {
        **{name: shared[name] for name in sizes},
        **{"embedding_ratio": None, "glu_expansion": None, "tokenizer": "byte_level_bpe"},
    }
    return Cell.from_values({**shared, **CONTENDERS[variant], "baseline": baseline})


def _runs(files: Sequence[Path]) -> Iterator[Run]:
    for line in recorded(files):
        yield Run(**line)


def _peak_memory() -> float:
    """Of this process, in KiB on Linux."""
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    app()
