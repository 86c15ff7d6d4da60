"""Runs tasks of EleutherAI's lm-evaluation-harness with a model, as evaluations like our own."""

from __future__ import annotations

import importlib.util
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data.errors import first_line
from data.tasks.base import TaskError
from tune_app.evaluation.fields import HARNESS as PREFIX
from tune_app.evaluation.results import SuiteResult
from tune_app.portable.text_model import TextModel

_LIBRARY = "lm_eval"
_FEWSHOT_SEED = 1234
"""The harness' own default."""


@dataclass(frozen=True, kw_only=True)
class HarnessOptions:
    """Which tasks of the harness are run. Raises ValueError for impossible numbers."""

    tasks: tuple[str, ...]
    """Their names, as the harness or a YAML file in `folder` has them."""
    limit: int | None = None
    """Examples at most, of each task."""
    fewshot: int | None = None
    """Examples in front of each question; None as the task says."""
    folder: Path | None = None
    """With further tasks in YAML files."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"the limit is {self.limit} examples; it must be at least 1")
        if self.fewshot is not None and self.fewshot < 0:
            raise ValueError(f"{self.fewshot} examples in front; it must be 0 or more")
        if self.folder is not None and not self.folder.is_dir():
            raise TaskError(f"there is no folder {self.folder}; name the one with the tasks' YAML")

    @property
    def split(self) -> str:
        """How much of a task is run, which tells apart what is recorded."""
        shown = "all" if self.limit is None else f"first {self.limit}"
        return shown if self.fewshot is None else f"{shown}, {self.fewshot}-shot"


def suite_of(task: str) -> str:
    """What the evaluation in a task of the harness is called."""
    return f"lm-eval {task}"


def require_harness() -> None:
    """Raises ValueError if the library is not installed."""
    if importlib.util.find_spec(_LIBRARY) is None:
        raise ValueError(
            "lm-eval is not installed; install it with `make harness`, or "
            "`pip install -r requirements-harness.txt`"
        )


def run_harness(model: TextModel, options: HarnessOptions) -> list[SuiteResult]:
    """The results of the tasks, with a row for each example.

    Raises TaskError for a task that is not there, or whose data cannot be had; ValueError if the
    library is not installed.
    """
    require_harness()
    # The import takes seconds, and its loggers speak of every step.
    from lm_eval import evaluator  # noqa: PLC0415

    from tune_app.evaluation.harness_model import HarnessModel  # noqa: PLC0415

    logging.getLogger(_LIBRARY).setLevel(logging.ERROR)
    started = time.perf_counter()
    try:
        # Not simple_evaluate: it records the environment, which takes many seconds.
        found = evaluator.evaluate(
            HarnessModel(model), _loaded(options), limit=options.limit, bootstrap_iters=0
        )
    except (OSError, ImportError, RuntimeError, ValueError) as error:
        if isinstance(error, TaskError):
            raise
        raise TaskError(
            f"lm-eval could not run {', '.join(options.tasks)} ({first_line(error)}); its data "
            "comes from the Hugging Face hub: check the network, or name tasks over local files"
        ) from error
    assert found is not None, "there is one process"
    seconds = time.perf_counter() - started
    return [
        _result(name, metrics, found, options, seconds / len(found["results"]))
        for name, metrics in found["results"].items()
    ]


def _loaded(options: HarnessOptions) -> Any:
    """The tasks as the harness loads them, with as many examples in front as is asked for.

    Raises TaskError for an unknown task.
    """
    manager = _manager(options)
    if unknown := [task for task in options.tasks if not manager.match_tasks([task])]:
        raise TaskError(
            f"lm-eval {version('lm-eval')} has no task {unknown[0]!r}; `lm-eval ls tasks` lists "
            "those it has, and --lm-eval-tasks names a folder with further ones"
        )
    loaded = manager.load(list(options.tasks))
    for task in loaded["tasks"].values():
        # A task that says 0 means it: its prompt has no place for examples.
        if options.fewshot is not None and task.get_config("num_fewshot") != 0:
            task.set_config(key="num_fewshot", value=options.fewshot)
        elif task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=_FEWSHOT_SEED)
    return loaded


def _manager(options: HarnessOptions) -> Any:
    from lm_eval.tasks import TaskManager  # noqa: PLC0415

    if options.folder is not None:
        # The index of all its own tasks takes many seconds, and may not be needed.
        alone = TaskManager(include_path=str(options.folder), include_defaults=False)
        if all(alone.match_tasks([task]) for task in options.tasks):
            return alone
        return TaskManager(include_path=str(options.folder))
    return TaskManager()


def _result(
    task: str,
    metrics: Mapping[str, Any],
    found: Mapping[str, Any],
    options: HarnessOptions,
    seconds: float,
) -> SuiteResult:
    numbers = {
        f"{PREFIX}{name.removesuffix(',none')}": float(value)
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    examples = found.get("n-samples", {}).get(task, {}).get("effective")
    if examples is not None:
        numbers.pop(f"{PREFIX}sample_len", None)
        numbers["examples"] = int(examples)
    samples = found.get("samples", {}).get(task, [])
    return SuiteResult(
        suite=suite_of(task),
        split=options.split,
        metrics={
            **{name: value for name, value in numbers.items() if math.isfinite(value)},
            "seconds": seconds,
        },
        notes={
            "source": f"lm-eval {version('lm-eval')}, version {found['versions'].get(task)} of the "
            f"task, {found['n-shot'].get(task, 0)} examples in front",
            "contamination": "not checked: the harness has the text",
        },
        units=_rows(samples),
        contaminated=[],
    )


def _rows(samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each example: its target, what the model answered, and its metrics."""
    rows = []
    for sample in samples:
        measured = {name: sample.get(name) for name in sample.get("metrics", [])}
        rows.append(
            {
                "example": sample.get("doc_id"),
                "filter": str(sample.get("filter", "")),
                "target": str(sample.get("target", "")),
                "answer": str(sample.get("filtered_resps", "")),
                **{
                    name: float(value) if isinstance(value, (int, float, bool)) else str(value)
                    for name, value in measured.items()
                },
            }
        )
    return rows
