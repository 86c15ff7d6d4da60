"""All that needs a GPU: the tests, and the speed of the 10M baseline against plain loops.

Prints a report to keep. Ends with status 2 where there is no GPU, with 1 if a test fails.

python -m benchmarks.gpu_check --report gpu.md
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from cyclopts import App
from torch._inductor.utils import fresh_cache

from benchmarks import batched_seeds
from benchmarks.contenders import PlainTransformer, random_batches
from benchmarks.gpu_cards import card_of
from data.batches import EvaluationDocuments, TrainingBatches
from data.prepared import PackedSplit
from model.evaluation.bits_per_byte import evaluate
from model.evaluation.products import FP32, TF32
from model.evaluation.scored_batches import HeldDocuments
from model.network.batch import TensorBatch
from model.sizing.budget import solve
from model.sizing.cost import training_flops_per_token
from model.sizing.table import parameter_table
from model.spec import ModelConfig, ModelSpec
from model.training.compilation import should_compile
from model.training.held_text import HeldText
from model.training.settings import TrainingConfig
from model.training.step_graph import CudaRecorder
from model.training.steps import read_all
from model.training.training import Training

GPU = "cuda:0"
WARM_UP = 5
SMALL, LARGE = 16, 256
"""Sequences of a step: what a cell trains with, and enough to keep a large card busy."""
READ_EVERY = 16
TEXT_TOKENS = 5_000_000
"""Of the text that our loops train on."""
SAMPLE_TOKENS = 1 << 16
"""Of the dev sample: about as many as the default one has."""
SCORED_AT_ONCE = (16, 32, 64)
SEED_ROUNDS = 9
MOST_MILLIONS = 10_000
"""Of tokens, among which the least that compile=auto compiles is looked for."""

Step = Callable[[], object]

app = App(name="python -m benchmarks.gpu_check", help=__doc__, version_flags=[])


@app.default
def check(*, report: Path | None = None, steps: int = 48) -> None:
    """Run the tests that need a GPU and measure training.

    Parameters
    ----------
    report
        A file to write the report to as well.
    steps
        Training steps that are timed.
    """
    if not torch.cuda.is_available():
        print(
            "There is no GPU that torch can use here, so nothing was checked. "
            f"{_why_none()}\nWhat is checked without one: make test ARGS=tests/gpu"
        )
        sys.exit(2)
    lines = [f"# GPU check of {torch.cuda.get_device_name(GPU)}", "", *_machine(), ""]
    status, tests = _tests()
    lines += ["## Tests", "", "```", *tests, "```", "", "## Speed", ""]
    lines += list(_speeds(steps))
    lines += ["", "## Evaluation", "", *_evaluations()]
    lines += ["", "## Several seeds as one model", "", *_seeds_as_one(steps)]
    text = "\n".join(lines) + "\n"
    print(text)
    if report is not None:
        report.write_text(text, "utf-8")
    sys.exit(1 if status else 0)


def _why_none() -> str:
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA."
    return f"torch {torch.__version__} was built for CUDA {torch.version.cuda}."


def _machine() -> list[str]:
    properties = torch.cuda.get_device_properties(GPU)
    driver = _output(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
    return [
        f"- {properties.multi_processor_count} multiprocessors, compute capability "
        f"{properties.major}.{properties.minor}, {properties.total_memory / 2**30:.1f} GiB, "
        f"{torch.cuda.device_count()} in this machine",
        f"- driver {driver or 'unknown'}, CUDA {torch.version.cuda}, torch {torch.__version__}",
        f"- Python {sys.version.split()[0]}",
    ]


def _output(command: list[str]) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return ended.stdout.strip().splitlines()[0]


def _tests() -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-rfEs", "tests/gpu"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return ended.returncode, ended.stdout.strip().splitlines()


def _speeds(steps: int) -> Iterator[str]:
    config = solve(ModelSpec())
    total = parameter_table(config).total
    yield f"{total:,} parameters, {config.context} tokens a sequence; three turns each, the best."
    yield ""
    yield "| loop | sequences a step | tokens/s | MFU |"
    yield "|---|---|---|---|"
    found: list[str] = []
    for sequences in (SMALL, LARGE):
        speeds: dict[str, float] = {}
        ours = partial(_training, config, sequences)
        plain = partial(_plain, config, sequences)
        loops: dict[str, Callable[[], Step]] = {
            "ours, eager": lambda: _ours(ours()),  # noqa: B023
            "ours, compiled": lambda: _ours(ours(compiled=True)),  # noqa: B023
            "ours, eager, text held": lambda: _ours(ours(held=True)),  # noqa: B023
            "ours, eager, one graph": lambda: _ours(ours(held=True, graph=True)),  # noqa: B023
            "ours, compiled, one graph": lambda: _ours(
                ours(compiled=True, held=True, graph=True)  # noqa: B023
            ),
            "plain, bf16": lambda: plain(compiled=False),  # noqa: B023
            "plain, bf16, compiled": lambda: plain(compiled=True),  # noqa: B023
        }
        for name, made in loops.items():
            speed = sequences * config.context / _seconds(made(), steps)
            speeds[name] = speed
            yield f"| {name} | {sequences} | {speed:,.0f} | {_utilisation(config, speed)} |"
            torch.compiler.reset()
        found.append(_break_even(config, sequences, speeds))
    yield ""
    yield from found


def _evaluations() -> Iterator[str]:
    """What a dev sample takes and what TF32 changes, by how many sequences are scored at once."""
    config = solve(ModelSpec())
    model = _training(config, SMALL).model
    yield f"A dev sample of {SAMPLE_TOKENS:,} random tokens; three turns each, the best."
    yield ""
    yield "| sequences at once | fp32, ms | TF32, ms | TF32's error, bits per byte |"
    yield "|---|---|---|---|"
    for sequences in SCORED_AT_ONCE:
        sample = EvaluationDocuments(
            _split(config, SAMPLE_TOKENS),
            context=config.context,
            batch_size=sequences,
            end_of_text=0,
        )
        held = HeldDocuments(sample, device=GPU)
        found = {one: evaluate(model, held, precision=one).bits_per_byte for one in (FP32, TF32)}
        times = [
            f"{_seconds(partial(evaluate, model, held, precision=one), 3) * 1e3:.1f}"
            for one in (FP32, TF32)
        ]
        yield f"| {sequences} | {' | '.join(times)} | {found[TF32] - found[FP32]:+.1e} |"


def _seeds_as_one(steps: int) -> Iterator[str]:
    config = solve(ModelSpec())
    yield f"Steps of {SMALL} × {config.context} tokens, eager; {SEED_ROUNDS} rounds in turns."
    yield ""
    yield from batched_seeds.table(
        config, batch_size=SMALL, rounds=SEED_ROUNDS, steps=steps, device=GPU
    )


def _break_even(config: ModelConfig, sequences: int, speeds: Mapping[str, float]) -> str:
    """From how many tokens on compiling pays here, beside what `auto` goes by."""
    with fresh_cache():
        training = _training(config, sequences, compiled=True)
        training.step()
    torch.compiler.reset()
    seconds = training.compile_seconds
    saved = 1 / speeds["ours, eager"] - 1 / speeds["ours, compiled"]
    pays = f"it pays from {seconds / saved:,.0f} tokens on" if saved > 0 else "it never pays"
    lengths = (millions * 10**6 for millions in range(1, MOST_MILLIONS))
    least = next(
        tokens
        for tokens in lengths
        if should_compile("auto", config, tokens=tokens, sequences=sequences, device=GPU)
    )
    return (
        f"Compiling {sequences} sequences cold took {seconds:.1f} s: {pays}; compile=auto does it "
        f"from {least:,} tokens on."
    )


def _seconds(step: Step, steps: int) -> float:
    """Of one step: the best of three turns."""
    for _ in range(WARM_UP):
        step()
    turns = []
    for _ in range(3):
        torch.cuda.synchronize(GPU)
        started = time.perf_counter()
        for _ in range(steps):
            step()
        torch.cuda.synchronize(GPU)
        turns.append((time.perf_counter() - started) / steps)
    return min(turns)


def _utilisation(config: ModelConfig, tokens_per_second: float) -> str:
    card = card_of(torch.cuda.get_device_name(GPU))
    if card is None:
        return "no peak known"
    return f"{tokens_per_second * training_flops_per_token(config) / card.dense_bf16:.1%}"


def _training(
    config: ModelConfig,
    sequences: int,
    *,
    compiled: bool = False,
    held: bool = False,
    graph: bool = False,
) -> Training:
    """held: whether the GPU holds the text; graph: whether a step is one CUDA graph."""
    text = _text(config, sequences)
    return Training(
        config,
        TrainingConfig(tokens=10**12, batch_size=sequences, compile="on" if compiled else "off"),
        HeldText(text, device=GPU) if held else text,
        baseline=config,
        device=GPU,
        recorder=CudaRecorder(GPU) if graph else None,
    )


def _text(config: ModelConfig, sequences: int) -> TrainingBatches:
    """Batches of a random text, as a cell reads them."""
    split = _split(config, TEXT_TOKENS)
    return TrainingBatches(split, context=config.context, batch_size=sequences, seed=0)


def _split(config: ModelConfig, size: int) -> PackedSplit:
    tokens = np.random.default_rng(0).integers(config.vocab_size, size=size, dtype=np.uint16)
    return PackedSplit(
        name="train",
        tokens=tokens,
        document_offsets=np.array([0, size]),
        document_bytes=np.array([size]),
    )


def _ours(training: Training) -> Step:
    ahead = []

    def step() -> None:
        ahead.append(training.step())
        if len(ahead) == READ_EVERY:
            read_all(ahead)
            ahead.clear()

    return step


def _plain(config: ModelConfig, sequences: int, *, compiled: bool) -> Step:
    """A hand-written loop with batches that are on the GPU already."""
    network = PlainTransformer(config).to(GPU)
    if compiled:
        network.compile(dynamic=False, fullgraph=True)
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    batch = TensorBatch.of(random_batches(config, sequences).batch(0), device=GPU)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = network(batch.inputs_BT, batch.targets_BT)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


if __name__ == "__main__":
    app()
