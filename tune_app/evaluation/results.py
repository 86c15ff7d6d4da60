"""Evaluates a model in a suite: its numbers, and what they are made of."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import torch

from data.tasks.overlap import Overlap, OverlapRule, overlaps
from model.evaluation.latency import measure_latency
from model.evaluation.throughput import measure_throughput
from tune_app.evaluation.answers import RULE, accuracy_of, score_task, task_metrics
from tune_app.evaluation.language import score_text
from tune_app.evaluation.suites import LatencySuite, Suite, TaskSuite, TextSuite, ThroughputSuite
from tune_app.portable.text_model import TextModel

WINDOWS = (
    "documents lie back to back, each behind end-of-text, and are cut into windows of the context; "
    "text of the document before counts as context, unless the model masks documents"
)


@dataclass(frozen=True, kw_only=True)
class SuiteResult:
    """What a model scored in a suite."""

    suite: str
    split: str
    metrics: Mapping[str, float]
    """By the names of `fields.EVALUATION_FIELDS`; infinite where the model's loss is."""
    notes: Mapping[str, str]
    units: Sequence[Mapping[str, Any]]
    """A row for each document or example."""
    contaminated: Sequence[Mapping[str, Any]]
    """A row for each one that overlaps with the training text."""


class Contamination:
    """Which units of suites overlap with training text: for one text and one unit found once.

    Cells of one corpus share it, whatever their tokenizers.
    """

    def __init__(self, rule: OverlapRule) -> None:
        self._rule = rule
        self._known: dict[str, list[Overlap]] = {}
        """By the digest of a suite's units and of the corpus."""

    def of(
        self, suites: Sequence[Suite], training: Iterable[str], *, corpus: str
    ) -> dict[tuple[str, str], list[Overlap]]:
        """The overlaps of each suite, by its name and split; at most one pass over the text.

        Args:
            suites: to look for.
            training: the training documents, which are not read if all is known.
            corpus: what tells them apart from others.
        """
        keys, units, owners = {}, [], []
        for suite in suites:
            mine = suite.units()
            key = sha256(json.dumps([corpus, mine]).encode()).hexdigest()
            keys[suite.name, suite.split] = key
            if key in self._known:
                continue
            self._known[key] = []
            for place, texts in enumerate(mine):
                units.append(texts)
                owners.append((key, place))
        if units:
            for overlap in overlaps(units, training, self._rule):
                key, place = owners[overlap.example]
                self._known[key].append(Overlap(example=place, words=overlap.words))
        return {name: self._known[key] for name, key in keys.items()}


def evaluate_suite(
    model: TextModel, suite: Suite, *, overlapping: Sequence[Overlap] | None, rule: OverlapRule
) -> SuiteResult:
    """The result in a suite.

    Args:
        model: to evaluate.
        suite: what it is evaluated on.
        overlapping: its units that overlap with the training text; None if that is unknown.
        rule: by which they overlap.

    Raises ValueError if there is nothing to score.
    """
    started = time.perf_counter()
    if isinstance(suite, LatencySuite):
        return _latency(model, suite)
    if isinstance(suite, ThroughputSuite):
        return _throughput(model, suite)
    if isinstance(suite, TextSuite):
        metrics, notes, units = _text(model, suite, overlapping)
        names = [f"document {place}" for place in range(len(units))]
    else:
        metrics, notes, units = _task(model, suite, overlapping)
        names = [example.name for example in suite.task.examples]
    if (reason := model.needs_whole_text) is not None:
        notes["future"] = f"its scores use text that follows, and compare with no other's: {reason}"
    if overlapping is None:
        notes["contamination"] = "not checked: the training text is not at hand"
        if isinstance(suite, TextSuite) and suite.is_training_text:
            notes["contamination"] = "not checked: it is the training text"
    else:
        metrics |= {"contaminated": len(overlapping), "ngram_words": rule.words}
        notes["contamination"] = rule.sentence
    metrics["seconds"] = time.perf_counter() - started
    return SuiteResult(
        suite=suite.name,
        split=suite.split,
        metrics=_without_nan(metrics),
        notes={"source": suite.source, **notes},
        units=units,
        contaminated=[
            {
                "suite": suite.name,
                "split": suite.split,
                "example": names[one.example],
                "words": one.words,
            }
            for one in overlapping or ()
        ],
    )


def _without_nan(metrics: Mapping[str, float]) -> dict[str, float]:
    """Without the errors and parts that too few units have; a score that is NaN is infinite."""
    return {
        name: math.inf if math.isnan(value) else value
        for name, value in metrics.items()
        if not (math.isnan(value) and ("_error" in name or name.startswith("clean_")))
    }


def _latency(model: TextModel, suite: LatencySuite) -> SuiteResult:
    started = time.perf_counter()
    found = measure_latency(model.model, suite.length, runs=suite.runs)
    metrics: dict[str, float] = {"runs": found.runs, "threads": torch.get_num_threads()}
    for name, times in (("prefill", found.prefill), ("decode", found.decode)):
        metrics |= {
            f"{name}_seconds": times.median,
            f"{name}_seconds_p95": times.p95,
            f"{name}_seconds_p99": times.p99,
        }
    return SuiteResult(
        suite=suite.name,
        split=suite.split,
        metrics={**metrics, "seconds": time.perf_counter() - started},
        notes={
            "source": suite.source,
            "device": _device(model),
            "decode": model.needs_whole_text or "with the prompt in the cache",
        },
        units=[],
        contaminated=[],
    )


def _throughput(model: TextModel, suite: ThroughputSuite) -> SuiteResult:
    started = time.perf_counter()
    found = measure_throughput(model.model, batch_size=suite.batch_size, runs=suite.runs)
    metrics: dict[str, float] = {
        "tokens_per_second": found.tokens_per_second,
        "batch_size": found.batch_size,
        "runs": found.runs,
        "threads": torch.get_num_threads(),
    }
    if found.peak_memory is not None:
        metrics["peak_memory_bytes"] = found.peak_memory
    return SuiteResult(
        suite=suite.name,
        split=suite.split,
        metrics={**metrics, "seconds": time.perf_counter() - started},
        notes={
            "source": suite.source,
            "device": _device(model),
            "memory": "weights, and what scoring added to the process' resident memory; on CUDA "
            "what torch allocated",
        },
        units=[],
        contaminated=[],
    )


def _device(model: TextModel) -> str:
    """The device at hand, for people."""
    device = next(model.model.parameters()).device
    name = platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return f"{device}, {name}, torch {torch.__version__}"


def _text(
    model: TextModel, suite: TextSuite, overlapping: Sequence[Overlap] | None
) -> tuple[dict[str, float], dict[str, str], list[dict[str, Any]]]:
    score = score_text(model.model, suite.packed, end_of_text=model.end_of_text, first=suite.first)
    metrics = score.metrics()
    clean_D = np.ones(len(score.nats_D), dtype=np.bool_)
    clean_D[[one.example for one in overlapping or ()]] = False
    if overlapping:
        metrics["clean_bits_per_byte"] = score.bits_per_byte_of(clean_D)
    units: list[dict[str, Any]] = [
        {
            "document": place,
            "text_bytes": int(score.bytes_D[place]),
            "tokens": int(score.tokens_D[place]),
            "nats": float(score.nats_D[place]),
            "contaminated": not bool(clean_D[place]),
        }
        for place in range(len(clean_D))
    ]
    return metrics, {"windows": WINDOWS}, units


def _task(
    model: TextModel, suite: TaskSuite, overlapping: Sequence[Overlap] | None
) -> tuple[dict[str, float], dict[str, str], list[dict[str, Any]]]:
    scored = score_task(model, suite.task)
    metrics = task_metrics(suite.task, scored)
    dirty = {one.example for one in overlapping or ()}
    if dirty:
        clean = [one.right for one in scored if one.example not in dirty]
        metrics["clean_accuracy"], metrics["clean_accuracy_error"] = accuracy_of(clean)
    units: list[dict[str, Any]] = [
        {
            "example": suite.task.examples[one.example].name,
            "label": suite.task.examples[one.example].answers[
                suite.task.examples[one.example].label
            ],
            "chosen": suite.task.examples[one.example].answers[one.chosen],
            "right": one.right,
            **{
                f"log_probability_{place}": value
                for place, value in enumerate(one.log_probabilities)
            },
            "shortened": one.shortened,
            "contaminated": one.example in dirty,
        }
        for one in scored
    ]
    return metrics, {"rule": RULE, "prompt": suite.task.examples[0].prompt}, units
