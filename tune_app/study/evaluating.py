"""Evaluates a study's finalists when they have finished.

Each result is recorded as soon as it is there; a manifest, written last, says that nothing is
missing. An interrupted study continues with what is.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from tune_app.cluster.options import RunOptions
from tune_app.devices import AUTO, checked_device
from tune_app.evaluation.choice import choose_cell
from tune_app.evaluation.recording import FOLDER
from tune_app.evaluation.results import Contamination
from tune_app.evaluation.run import EvaluationOptions, evaluate_cell
from tune_app.formats import counted
from tune_app.journal.journal import Journal
from tune_app.results.summary import SweepResults
from tune_app.results.whole_files import replacing
from tune_app.results.write import write_results
from tune_app.stores.base import StoreError
from tune_app.study.evaluated import FINALISTS, evaluated_cells
from tune_app.study.spec import Study
from tune_app.sweep.folder import JOURNAL

__all__ = ["FINALISTS", "MANIFEST", "evaluate_finalists"]

MANIFEST = "complete.json"
_SPLITS = ("dev",)
"""Of the corpus. The verdict's phase scores test, once a cell."""

logger = logging.getLogger(__name__)


def evaluate_finalists(
    study: Study, results: SweepResults, options: RunOptions, *, console: Console
) -> int:
    """Evaluates a cell of each finalist, unless that is done.

    Args:
        study: names the suites.
        results: of the phase.
        options: how the study is run; `results` holds the phase's folder.
        console: shows the results.

    Returns how many finalists could not be evaluated: that is said, and ends nothing.
    """
    cells = evaluated_cells(results)
    folder = options.results / results.sweep.name
    wanted = {
        "evaluate": list(study.evaluate),
        "data": None if study.evaluation_data is None else str(study.evaluation_data),
        "cells": [cell.cell.key for cell in cells.values()],
    }
    if not study.evaluate or not cells or _complete(folder) == wanted:
        return 0
    told = f"Evaluating {counted(len(cells), 'finalist')} on {', '.join(study.evaluate)}"
    console.print(told, style="bold", markup=False, highlight=False, soft_wrap=True)
    how = EvaluationOptions(
        suites=study.evaluate,
        splits=_SPLITS,
        data=study.evaluation_data,
        device=checked_device(AUTO if options.on_a_cluster else options.device),
    )
    overlaps, failed = Contamination(how.overlap), 0
    for name, cell in cells.items():
        console.print(f"  {name}, seed {cell.seed}", markup=False, highlight=False, soft_wrap=True)
        try:
            chosen = choose_cell(results.sweep.name, cell=cell.cell.key, results=options.results)
            evaluate_cell(chosen, how, console, overlaps=overlaps)
        except (ValueError, OSError, StoreError) as error:
            failed += 1
            logger.warning("%s could not be evaluated: %s", name, error)
    with Journal.open(folder / JOURNAL, read_only=True) as journal:
        write_results(journal, folder)
    if not failed:
        with replacing(folder / FOLDER / MANIFEST) as path:
            path.write_text(json.dumps(wanted, indent=2) + "\n", "utf-8")
    return failed


def _complete(folder: Path) -> Mapping[str, Any] | None:
    """What the manifest says; None if there is none that can be read."""
    try:
        found = json.loads((folder / FOLDER / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
