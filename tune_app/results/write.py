"""Writes all results of a sweep from its journal alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tune_app import formats
from tune_app.journal.journal import Journal
from tune_app.results.columns import dictionary
from tune_app.results.design_table import design_rows
from tune_app.results.equal_budgets import view_rows
from tune_app.results.markdown import REPORT, write_markdown
from tune_app.results.mirrors.optuna import write_optuna
from tune_app.results.mirrors.optuna_url import optuna_file
from tune_app.results.mirrors.tensorboard import TENSORBOARD, write_tensorboard
from tune_app.results.paper import FOLDER, paper_tables, write_paper_tables
from tune_app.results.plots.all_plots import draw, png
from tune_app.results.proposals import proposal_rows
from tune_app.results.report import Picture, write_report
from tune_app.results.summary import SweepResults, summarise
from tune_app.results.tables import (
    cell_rows,
    curve_rows,
    decision_rows,
    failure_rows,
    names_of,
    write_csv,
    write_json_lines,
    write_parquet,
)
from tune_app.results.whole_files import replacing

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ResultPaths:
    """The results and the paths of the written files."""

    results: SweepResults
    csv: Path
    designs: Path
    equal_budgets: Path
    """The ranking at equal tokens, training FLOPs and seconds."""
    parquet: Path
    curves: Path
    columns: Path
    """The data dictionary of the tables."""
    decisions: Path
    failures: Path
    proposals: Path
    """Of a search; other sweeps have none."""
    report: Path
    markdown: Path
    """The report on one page."""
    optuna: Path
    tensorboard: Path
    plots: tuple[Path, ...]
    paper: tuple[Path, ...]
    """Tables fit for a paper, as CSV and as LaTeX."""


def write_results(journal: Journal, folder: Path, *, live: bool = False) -> ResultPaths:
    """Rebuilds all results in `folder` from the journal: tables, plots, report, mirrors.

    Each file is replaced atomically.

    Args:
        journal: of the sweep; it may be read-only, and the sweep may still be running.
        folder: of the sweep.
        live: whether another process is running the sweep; it keeps the mirrors, so they are
            left alone.

    A mirror that cannot be written causes a warning. Raises OSError if the folder is not writable.
    """
    paths = write_files(summarise(journal), folder)
    if not live:
        for write, path in (
            (write_optuna, paths.optuna),
            (write_tensorboard, paths.tensorboard),
        ):
            _write_mirror(write, journal, path)
    return paths


def write_files(results: SweepResults, folder: Path, *, drawn: bool = True) -> ResultPaths:
    """Writes the tables, the plots and the report: all results but the mirrors.

    drawn: whether to draw the plots, which takes most of the time; else they are empty.

    Each file is replaced atomically. Raises OSError if the folder is not writable.
    """
    pictures = [
        Picture(name=plot.name, png=png(plot) if drawn else b"", caption=plot.caption)
        for plot in draw(results)
    ]
    paths = ResultPaths(
        results=results,
        csv=folder / "results.csv",
        designs=folder / "designs.csv",
        equal_budgets=folder / "equal_budgets.csv",
        parquet=folder / "results.parquet",
        curves=folder / "curves.parquet",
        columns=folder / "columns.csv",
        decisions=folder / "decisions.jsonl",
        failures=folder / "failures.jsonl",
        proposals=folder / "proposals.csv",
        report=folder / "report.html",
        markdown=folder / REPORT,
        optuna=optuna_file(folder),
        tensorboard=folder / TENSORBOARD,
        plots=tuple(folder / "plots" / f"{picture.name}.png" for picture in pictures),
        paper=tuple(write_paper_tables(paper_tables(results), folder / FOLDER)),
    )
    rows, designs, curves = cell_rows(results), design_rows(results), curve_rows(results)
    views, proposals = view_rows(results), proposal_rows(results)
    write_csv(rows, paths.csv)
    write_csv(designs, paths.designs)
    write_csv(views, paths.equal_budgets)
    write_parquet(rows, paths.parquet)
    write_parquet(curves, paths.curves)
    write_csv(
        dictionary(*map(names_of, (rows, designs, curves, views, proposals))),
        paths.columns,
    )
    write_json_lines(decision_rows(results), paths.decisions)
    write_json_lines(failure_rows(results), paths.failures)
    if proposals:
        write_csv(proposals, paths.proposals)
    for picture, path in zip(pictures, paths.plots, strict=True):
        with replacing(path) as temporary:
            temporary.write_bytes(picture.png)
    # After the files that they refer to.
    write_markdown(results, [picture.name for picture in pictures], paths.markdown)
    write_report(results, pictures, paths.report)
    return paths


def _write_mirror(write: Callable[[Journal, Path], None], journal: Journal, path: Path) -> None:
    """Writes a mirror; logs a warning if that fails, since the report is complete without it."""
    try:
        write(journal, path)
    except Exception as error:
        logger.warning(
            "%s could not be written (%s: %s); the report and the tables are complete",
            path,
            type(error).__name__,
            formats.one_line(str(error)),
        )
