"""What a tokenizer costs to make, how short it makes a text, and how well a model learns with it.

`prepare` makes some tokenizers on a corpus, each in a process and a cache of its own, and prints
their time, memory and tokens per byte. `train` trains the cells of `quick_superbpe` on several
seeds, all on equal text, and appends a line to a file as each run ends; started again, it trains
what is missing. `table` reads such a file.

python -m benchmarks.tokenizers prepare stdlib --sizes 4096,16000
python -m benchmarks.tokenizers train runs.jsonl --values '{"tokens": 300000}' --seeds 0,1,2
python -m benchmarks.tokenizers table runs.jsonl
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from benchmarks.recorded_runs import append, full_score, recorded
from data.prepare import prepare as prepare_corpus
from data.tokenizers.spec import TokenizerSpec
from tune_app.plan.cell import Cell
from tune_app.plan.space import expand
from tune_app.plan.space_file import load_space
from tune_app.trial.trial import Trial

KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("byte_level_bpe", {}),
    ("superbpe", {}),
    ("superbpe", {"transition": 0.8}),
)

DEFAULTS: tuple[dict[str, Any], ...] = ({}, {"transition": 0.9})

app = App(name="python -m benchmarks.tokenizers", help=__doc__, version_flags=[])


@app.command
def prepare(corpus: str, *, sizes: str = "4096,16000", threads: int = 1) -> None:
    """Make each tokenizer on a corpus, and encode the corpus with it."""
    for size in map(int, sizes.split(",")):
        for kind, options in KINDS:
            subprocess.run(
                [
                    *(sys.executable, "-m", "benchmarks.tokenizers", "one", corpus),
                    *(kind, str(size), json.dumps(options)),
                ],
                env={**os.environ, "RAYON_NUM_THREADS": str(threads)},
                check=True,
            )


@app.command(show=False)
def one(corpus: str, kind: str, size: int, options: str) -> None:
    """Make one tokenizer, in this process."""
    spec = TokenizerSpec(kind=kind, vocab_size=size, options=json.loads(options))
    with tempfile.TemporaryDirectory() as cache:
        wall, processor = time.perf_counter(), time.process_time()
        prepared = prepare_corpus(corpus, spec, cache=Path(cache))
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        split = prepared.manifest.splits["train"]
        print(
            f"{spec.key}: {split.text_bytes / 1e6:.2f} MB to train on, {processor:.1f} s of "
            f"processor time, {wall:.1f} s, load {os.getloadavg()[0]:.1f}, peak "
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB, tokens per byte "
            f"of dev {1 / prepared.bytes_per_token('dev'):.4f}, tokenizer "
            f"{prepared.manifest.tokenizer_sha256[:12]}",
            flush=True,
        )


@app.command
def train(
    file: Path,
    *,
    seeds: Annotated[str, Parameter(help="Seeds.")] = "0,1,2",
    values: Annotated[str, Parameter(help="Other values of the cells, as JSON.")] = "{}",
    threads: int = 1,
) -> None:
    """Train what is missing in the file."""
    torch.set_num_threads(threads)
    done = {line["key"] for line in recorded([file])} if file.exists() else set()
    for cell in _cells(values, [int(seed) for seed in seeds.split(",")]):
        if cell.key not in done:
            began = time.process_time()
            trial = Trial(cell, corpora=lambda spec: prepare_corpus(cell.settings.corpus, spec))  # noqa: B023
            score = full_score(trial)
            line = {
                "key": cell.key,
                "tokenizer": cell.tokenizer.kind,
                "options": dict(cell.tokenizer.options),
                "seed": cell.seed,
                "tokens": cell.settings.tokens,
                "own_tokens": trial.tokens,
                "bits_per_byte": score,
                "seconds": time.process_time() - began,
            }
            append(file, line)
            print(line, flush=True)


@app.command
def table(*files: Path) -> None:
    """Print each tokenizer's scores, and its difference from BPE on the same seeds."""
    lines = list(recorded(files))
    shown = Table(title="bits per byte of the full dev split", title_justify="left")
    for column in ("tokenizer", "own tokens", "seeds", "bits per byte", "against BPE", "± σ/√n"):
        shown.add_column(column, justify="left" if column == "tokenizer" else "right")
    for name, same in _by_tokenizer(lines).items():
        gaps = list(_gaps(same, lines))
        spread = stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.nan
        shown.add_row(
            name,
            f"{fmean(line['own_tokens'] for line in same):,.0f}",
            str(len(same)),
            f"{fmean(line['bits_per_byte'] for line in same):.4f}",
            f"{fmean(gaps):+.4f}" if any(gaps) else "",
            f"{spread:.4f}" if any(gaps) else "",
        )
    Console().print(shown)


def _cells(values: str, seeds: Sequence[int]) -> list[Cell]:
    """Those of default options first, seed by seed, so that what is there when it is stopped can be
    compared."""
    told = {"compile": "off", "evaluations": 1, **json.loads(values)}
    cells = expand(load_space("quick_superbpe"), told, seeds=seeds).cells
    return sorted(cells, key=lambda cell: (cell.tokenizer.options not in DEFAULTS, cell.seed))


def _by_tokenizer(lines: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        told = "".join(f", {name} {value}" for name, value in line["options"].items())
        found[f"{line['tokenizer']}{told}"].append(line)
    return found


def _gaps(same: Sequence[dict[str, Any]], lines: Sequence[dict[str, Any]]) -> Iterator[float]:
    bpe = {
        line["seed"]: line["bits_per_byte"]
        for line in lines
        if line["tokenizer"] == "byte_level_bpe"
    }
    for line in same:
        if line["seed"] in bpe:
            yield line["bits_per_byte"] - bpe[line["seed"]]


if __name__ == "__main__":
    app()
