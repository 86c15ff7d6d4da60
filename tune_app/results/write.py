"""Everything that a person looks at after a sweep, rebuilt from its journal alone."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from tune_app.journal import Journal
from tune_app.results import STUDY, TENSORBOARD
from tune_app.results.plots.all_plots import draw, write_png
from tune_app.results.study import write_study
from tune_app.results.summary import SweepResults, summarise
from tune_app.results.tables import (
    cell_rows,
    curve_rows,
    write_csv,
    write_decisions,
    write_parquet,
)
from tune_app.results.tensorboard import write_tensorboard

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ResultPaths:
    """Where `write_results` put things."""

    folder: Path
    results: SweepResults
    """What was written, for whoever says how the sweep ended."""
    csv: Path
    parquet: Path
    curves: Path
    decisions: Path
    plots: tuple[Path, ...]


def write_results(journal: Journal, folder: Path, *, live: bool = False) -> ResultPaths:
    """Rebuilds the results in `folder`, file by file; each is the old or the new one, whole."""
    results = summarise(journal)
    paths = ResultPaths(
        folder=folder,
        results=results,
        csv=folder / "results.csv",
        parquet=folder / "results.parquet",
        curves=folder / "curves.parquet",
        decisions=folder / "decisions.jsonl",
        plots=(),
    )
    rows = cell_rows(results)
    write_csv(rows, paths.csv)
    write_parquet(rows, paths.parquet)
    write_parquet(curve_rows(results), paths.curves)
    write_decisions(results, paths.decisions)
    for plot in draw(results):
        write_png(plot, folder / "plots" / f"{plot.name}.png")
    if not live:
        write_study(journal, folder / STUDY)
        write_tensorboard(journal, folder / TENSORBOARD)
    return paths
