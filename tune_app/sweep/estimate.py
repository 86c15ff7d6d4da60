"""Expected time of a planned sweep: a few timed steps of its baseline, scaled by FLOPs."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from types import MappingProxyType
from typing import Any

import torch

from data.batches import RandomBatches
from model.mup import transfer
from model.precisions import FP32
from model.roles import hidden_matrix
from model.sizing.cost import training_flops_per_token, training_memory_bytes
from model.spec import ModelConfig, ModelSpec
from model.training.hardware import precision_on
from model.training.muon import depth_factor
from model.training.step_graph import CudaRecorder
from model.training.training import Training
from tune_app.devices import use_threads
from tune_app.plan.cell import Cell, TrialSettings
from tune_app.plan.plan import SweepPlan
from tune_app.plan.rows import PlannedCell, PlanRow, PlanSizes
from tune_app.plan.solved import SolvedModels

TIMED_STEPS = 3

_BYTES_PER_TOKEN = 3.5
"""Rough average for English or source code; used only to estimate evaluation time."""

_EVALUATION_SHARE = 2 / 3
"""Time per scored token over time per trained token: a third of the FLOPs, but in fp32."""


def plan_rows(
    plan: SweepPlan,
    *,
    threads: int,
    device: str,
    dev_bytes: int = 0,
    done: Mapping[str, float] = MappingProxyType({}),
) -> list[PlanRow]:
    """One row per cell, with its time on this machine if it is trained to the end and scored.

    dev_bytes: of the full dev split, which the last evaluation of each cell scores too.
    done: share of its training that a cell need not repeat, by key.

    Time is measured on the baseline, on the device with `threads` CPUs, and scaled to the other
    cells by training FLOPs. The measured steps run eagerly, because compiling would take too long
    for a plan; compiled trials are faster.
    """
    solved = plan.baseline.solved
    assert solved is not None
    baseline = Cell.from_values(plan.baseline.values)
    seconds_per_token = _seconds_per_token(baseline, solved, threads=threads, device=device)
    assert plan.baseline.flops_per_token is not None
    seconds_per_flop = seconds_per_token / plan.baseline.flops_per_token
    return [
        _row(cell, seconds_per_flop, device, dev_bytes, left=1 - done.get(cell.key, 0.0))
        for cell in plan.cells
    ]


def seconds_alone(plan: SweepPlan, rows: Sequence[PlanRow], left: Collection[PlannedCell]) -> float:
    """Seconds for the cells that are left, one after another; `rows` are of `plan_rows`."""
    keys = {cell.key for cell in left}
    return sum(
        row.expected_seconds or 0.0
        for cell, row in zip(plan.cells, rows, strict=True)
        if cell.key in keys
    )


def scored_as_tokens(text_bytes: float) -> float:
    """The trained tokens that take as long as scoring a text of so many bytes."""
    return text_bytes / _BYTES_PER_TOKEN * _EVALUATION_SHARE


def end_seconds(
    plan: SweepPlan,
    rows: Sequence[PlanRow],
    *,
    dev: int,
    test: int,
    done: Mapping[str, float] = MappingProxyType({}),
) -> float:
    """Time to score two designs, the leader and the baseline, on the test split at the end.

    The leader is not known yet: it counts as an average cell.

    Args:
        rows: of `plan_rows`.
        dev: bytes of the dev split, as given to `plan_rows`.
        test: bytes of the test split.
        done: as given to `plan_rows`.
    """
    known = [row.expected_seconds for row in rows if row.expected_seconds is not None]
    baseline, solved = Cell.from_values(plan.baseline.values), plan.baseline.solved
    assert solved is not None
    left = 1 - done.get(plan.baseline.key, 0.0)
    share = scored_as_tokens(test) / _as_tokens(baseline, solved.model, dev, left=left)
    designs = {repr({**cell.values, "seed": None}) for cell in plan.feasible}
    return min(2, len(designs)) * len(plan.seeds) * share * fmean(known) if known else 0.0


def _as_tokens(cell: Cell, config: ModelConfig, dev_bytes: int, *, left: float = 1.0) -> float:
    """Tokens at the full context that take as long as a cell's training and its evaluations; the
    sample is never more than the dev split.

    left: share of the training that is left.
    """
    settings = cell.settings
    sample = min(settings.evaluation_bytes, dev_bytes or settings.evaluation_bytes)
    scored = scored_as_tokens(left * settings.evaluations * sample + dev_bytes)
    return left * trained_as_tokens(settings, config) + scored


def trained_as_tokens(settings: TrialSettings, config: ModelConfig) -> float:
    """Tokens at the full context that cost as much as all of a training, of which a curriculum
    trains some on shorter sequences, with less attention for each."""
    whole = training_flops_per_token(config)
    saved = sum(
        stage.tokens(settings.tokens)
        * (1 - training_flops_per_token(replace(config, context=stage.length)) / whole)
        for stage in settings.stages
    )
    return settings.tokens - saved


def _row(
    record: PlannedCell, seconds_per_flop: float, device: str, dev_bytes: int, *, left: float = 1.0
) -> PlanRow:
    cell = Cell.from_values(record.values)
    settings = cell.settings
    solved = record.solved
    if solved is None:
        return PlanRow(
            label=record.label,
            **_asked(cell.model),
            tokens=settings.tokens,
            infeasible=record.reason,
        )
    assert record.flops_per_token is not None
    assert record.parameters is not None
    config = solved.model
    tokens = _as_tokens(cell, config, dev_bytes, left=left)
    return PlanRow(
        label=record.label,
        **_asked(cell.model),
        tokens=settings.tokens,
        sizes=PlanSizes(
            share=record.parameters["embedding_share"],
            expansion=config.expansion,
            d_model=config.d_model,
            n_layers=config.n_layers,
            n_heads=config.n_heads,
            head_dim=config.head_dim,
            d_ff=config.d_ff,
            parameters=record.parameters["total"],
            n_kv_heads=config.n_kv_heads,
            embedding_rank=config.embedding_rank,
            active=record.parameters.get("active"),
        ),
        hidden_rate=settings.learning_rate_factor * _transferred(settings, solved),
        expected_seconds=tokens * record.flops_per_token * seconds_per_flop,
        memory_bytes=training_memory_bytes(
            config,
            batch_size=settings.batch_size // settings.gradient_accumulation,
            bytes_per_activation=4 if precision_on(device, "auto").name == FP32 else 2,
            recomputed=settings.gradient_checkpointing,
        ),
    )


def _transferred(settings: TrialSettings, solved: SolvedModels) -> float:
    """Factor of the rate of a hidden matrix that reads the width, under its own optimiser."""
    config = solved.model
    role = hidden_matrix(reads="d_model", fan_in=config.d_model)
    scales = transfer(config, baseline=solved.baseline, parametrization=settings.parametrization)
    return depth_factor(scales, role) if settings.optimizer == "muon" else scales.rate(role)


def _asked(model: ModelSpec) -> dict[str, Any]:
    """The requested values that the plan shows next to the solved ones."""
    return {
        "asked_share": model.embedding_ratio,
        "asked_expansion": model.glu_expansion,
        "asked_d_model": model.d_model,
        "asked_n_layers": model.n_layers,
        "asked_d_ff": model.d_ff,
        "asked_embedding_rank": model.embedding_rank,
    }


def _seconds_per_token(cell: Cell, solved: SolvedModels, *, threads: int, device: str) -> float:
    """Seconds per training token: the fastest of a few steps after the first."""
    config = solved.model
    before = torch.get_num_threads()
    use_threads(threads)
    try:
        training = training_on_random_tokens(cell, solved, device=device)
        return min(_timed_steps(training)) / (cell.settings.batch_size * config.context)
    finally:
        torch.set_num_threads(before)


def training_on_random_tokens(
    cell: Cell, solved: SolvedModels, *, device: str, cuda_graph: bool = False
) -> Training:
    """The training of a cell without its text, not compiled, to measure a few steps of it."""
    config = solved.model
    return Training(
        config,
        replace(cell.training_config(), compile="off"),
        random_batches(config, batch_size=cell.settings.batch_size),
        baseline=solved.baseline,
        device=device,
        recorder=CudaRecorder(device) if cuda_graph else None,
    )


def random_batches(config: ModelConfig, *, batch_size: int) -> RandomBatches:
    """Batches of so many sequences of random tokens, as long as the model's context."""
    return RandomBatches(
        vocab_size=config.vocab_size,
        context=config.context,
        batch_size=batch_size,
        end_of_text=0 if config.document_masking else None,
    )


def _timed_steps(training: Training) -> Iterator[float]:
    # A step is over once its loss can be read: a GPU is handed the next one before that.
    _ = training.step().loss
    for _ in range(TIMED_STEPS):
        started = time.perf_counter()
        _ = training.step().loss
        yield time.perf_counter() - started
