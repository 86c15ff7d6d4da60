"""A cell in numbers, as metrics.json has it: from the journal alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from model.spec import ModelConfig
from tune_app.evaluation.fields import FIELDS, SCHEMA_NAME, VERSION
from tune_app.journal.records import CellEvaluation
from tune_app.plan.cell import warmup_share
from tune_app.plan.identity import completed
from tune_app.plan.tokenizer import tokenizer_of
from tune_app.results.designs import CellResult, Design
from tune_app.results.summary import SweepResults
from tune_app.results.verdict import verdict

_FP32_BYTES = 4


def cell_metrics(
    results: SweepResults, result: CellResult, *, evaluations: Sequence[CellEvaluation] = ()
) -> dict[str, Any]:
    """The content of metrics.json for a cell; `fields.schema()` describes it."""
    values = completed(result.cell.values)
    groups = {
        "model": _model(result),
        "data": _data(results, values),
        "training": _training(results, result, values),
        "quality": _quality(results, result),
        "speed": _speed(result),
        "memory": _memory(result),
        "cost": _cost(result),
        "provenance": _provenance(results, result),
    }
    return {
        "schema": SCHEMA_NAME,
        "version": VERSION,
        **{
            group: {name: _plain(groups[group][name]) for name in members}
            for group, members in FIELDS.items()
        },
        "evaluations": [
            evaluation_values(one.suite, one.split, one.metrics, one.notes) for one in evaluations
        ],
    }


def evaluation_values(
    suite: str, split: str, metrics: Mapping[str, float], notes: Mapping[str, str]
) -> dict[str, Any]:
    """An evaluation as plain values; a number that is NaN or infinite is null."""
    return {
        "suite": suite,
        "split": split,
        "notes": dict(notes),
        "metrics": {name: _plain(value) for name, value in metrics.items()},
    }


def _model(result: CellResult) -> dict[str, Any]:
    values = result.cell.config or {}
    config = _config(result)
    table = result.cell.parameters or {}
    return {
        **{name: values.get(name) for name in FIELDS["model"]},
        "parameters": table.get("total"),
        "embedding_share": table.get("embedding_share"),
        "expansion": config and config.expansion,
    }


def _data(results: SweepResults, values: Mapping[str, Any]) -> dict[str, Any]:
    tokenizer = tokenizer_of(values)
    return {
        "corpus": values["corpus"],
        "corpus_sha256": results.sweep.corpus_sha256,
        "tokenizer": tokenizer.kind,
        "bytes_per_token": results.sweep.bytes_per_token.get(tokenizer.key),
        "test_bytes": results.sweep.test_bytes,
    }


def _training(
    results: SweepResults, result: CellResult, values: Mapping[str, Any]
) -> dict[str, Any]:
    last = result.last
    return {
        **{name: values.get(name) for name in FIELDS["training"]},
        "tokens": 0 if last is None else last.tokens,
        "baseline_tokens": 0 if last is None else last.baseline_tokens,
        "budget_tokens": results.sweep.tokens,
        "warmup_fraction": warmup_share(values),
        "seed": result.seed,
        "final_train_loss": last and last.metrics.get("train_loss"),
    }


def _quality(results: SweepResults, result: CellResult) -> dict[str, Any]:
    noise, score = results.contest.noise, result.score
    reach = None if noise is None or score is None else noise.limit * noise.sigma
    places = {design.label: place for place, design in enumerate(results.ranking, start=1)}
    design = _design(results, result)
    ranked = design is not None and result in design.finished
    return {
        "dev_bits_per_byte": score,
        "dev_perplexity": result.last and result.last.full_perplexity,
        "gap_to_baseline": results.cell_gap(result),
        "sigma": None if noise is None else noise.sigma,
        "sigma_runs": None if noise is None else noise.runs,
        "dev_bits_per_byte_low": None if reach is None or score is None else score - reach,
        "dev_bits_per_byte_high": None if reach is None or score is None else score + reach,
        "rank": places.get(design.label) if ranked and design is not None else None,
        "ranked_designs": len(results.ranking),
        "test_bits_per_byte": result.test and result.test.bits_per_byte,
        "test_perplexity": result.test and result.test.perplexity,
    }


def _design(results: SweepResults, result: CellResult) -> Design | None:
    for design in results.designs:
        if result in design.cells:
            return design
    return None


def _speed(result: CellResult) -> dict[str, Any]:
    hosts = dict.fromkeys(attempt.host for attempt in result.attempts if attempt.host)
    return {
        "training_tokens_per_second": result.tokens_per_second,
        "training_device_hosts": ", ".join(hosts) or None,
    }


def _memory(result: CellResult) -> dict[str, Any]:
    total = (result.cell.parameters or {}).get("total")
    config = _config(result)
    # Attention keeps keys and values of each of its key-value heads.
    cached = None if config is None else 2 * _FP32_BYTES * config.n_layers * config.d_kv
    return {
        "weights_bytes": None if total is None else _FP32_BYTES * total,
        "cache_bytes_per_token": cached,
    }


def _config(result: CellResult) -> ModelConfig | None:
    config = result.cell.config
    return None if config is None else ModelConfig(**config)


def _cost(result: CellResult) -> dict[str, Any]:
    seconds = result.seconds
    return {
        "training_flops": result.training_flops,
        "seconds_train": seconds["train"],
        "seconds_total": sum(seconds.values()),
        "attempts": result.cell.attempts,
        "resumes": result.resumes,
    }


def _provenance(results: SweepResults, result: CellResult) -> dict[str, Any]:
    versions = results.sweep.versions
    ended = result.ended_at
    return {
        "sweep": results.sweep.name,
        "space": results.sweep.space,
        "cell": result.cell.key,
        "label": result.cell.label,
        "status": result.cell.status.value,
        "checkpoint": result.checkpoint,
        "ended_at": None
        if ended is None
        else datetime.fromtimestamp(ended, UTC).isoformat(timespec="seconds"),
        "stellux": versions.get("source"),
        "torch": versions.get("torch"),
        "python": versions.get("python"),
        "verdict": verdict(results),
        "command": results.sweep.command,
    }


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity; they are unknown there."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
