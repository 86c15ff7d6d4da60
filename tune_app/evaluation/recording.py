"""Keeps evaluations: in the sweep's journal, and as files that are made from it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tune_app.evaluation.cell_metrics import cell_metrics
from tune_app.evaluation.fields import schema
from tune_app.evaluation.model_card import summary
from tune_app.evaluation.results import SuiteResult
from tune_app.evaluation.suite_names import LANGUAGE
from tune_app.journal.journal import Journal
from tune_app.journal.records import CellEvaluation, Score
from tune_app.results.designs import CellResult
from tune_app.results.summary import summarise
from tune_app.results.tables import write_parquet
from tune_app.results.whole_files import replacing

logger = logging.getLogger(__name__)

FOLDER = "evaluations"
METRICS_FILE = "metrics.json"
SUMMARY_FILE = "summary.md"
CONTAMINATED_FILE = "contaminated.jsonl"
LOCK = "running.lock"
_SAME = 1e-6
"""Relative difference up to which two scores of one split are the same: devices round apart."""


@contextmanager
def evaluating(folder: Path) -> Iterator[None]:
    """Holds the lock of a cell's evaluations, which the system frees however the process ends.

    Raises ValueError if another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout:
        raise ValueError(
            f"another process writes evaluations into {folder}; repeat this one when it has ended"
        ) from None


def record(journal: Journal, cell: CellResult, result: SuiteResult, *, tokens: int) -> None:
    """Records a result. The first of a suite and split is kept; a test score also with the rest."""
    journal.evaluate(
        CellEvaluation(
            cell=cell.cell.key,
            suite=result.suite,
            split=result.split,
            metrics=result.metrics,
            notes=result.notes,
        )
    )
    if (result.suite, result.split) != (LANGUAGE, "test"):
        return
    found = result.metrics["bits_per_byte"]
    if cell.test is not None and not math.isclose(cell.test.bits_per_byte, found, rel_tol=_SAME):
        logger.warning(
            "%s scored %.6f bits per byte on the test split before, and now %.6f; the first stays",
            cell.cell.label,
            cell.test.bits_per_byte,
            found,
        )
    journal.score(
        Score(
            cell=cell.cell.key,
            split="test",
            tokens=tokens,
            bits_per_byte=found,
            perplexity=result.metrics["perplexity"],
            text_bytes=int(result.metrics["text_bytes"]),
        )
    )


def recorded_metrics(journal: Journal, cell: str) -> dict[str, Any]:
    """The content of metrics.json of a cell, its evaluations included."""
    results = summarise(journal)
    (found,) = (one for one in results.cells if one.cell.key == cell)
    return cell_metrics(results, found, evaluations=journal.evaluations(cell))


def write_units(folder: Path, result: SuiteResult) -> None:
    """Writes what a result is made of: a row for each document or example."""
    if result.units:
        write_parquet(result.units, folder / f"{_file_name(result.suite, result.split)}.parquet")


def write_contaminated(folder: Path, result: SuiteResult) -> None:
    """Names what overlaps with the training text; other suites keep their lines."""
    path = folder / CONTAMINATED_FILE
    rows = [] if not path.exists() else [json.loads(line) for line in path.read_text().splitlines()]
    kept = [row for row in rows if (row["suite"], row["split"]) != (result.suite, result.split)]
    with replacing(path) as temporary:
        lines = [
            json.dumps(row, ensure_ascii=False) + "\n" for row in (*kept, *result.contaminated)
        ]
        temporary.write_text("".join(lines), encoding="utf-8")


def write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Writes metrics.json, its schema, and the summary that is made from it."""
    contents = {
        METRICS_FILE: as_json(metrics),
        "metrics.schema.json": as_json(schema()),
        SUMMARY_FILE: summary(metrics),
    }
    for name, text in contents.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def as_json(values: Any) -> str:
    """JSON for people and programs, without NaN."""
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _file_name(suite: str, split: str) -> str:
    plain = "".join(one if one.isalnum() or one in "-_" else "-" for one in suite)
    return f"{plain}-{split}"
