"""What a study's finalists are worth besides their rank, for its report. Pure."""

from __future__ import annotations

from typing import Any

from tune_app.evaluation.cell_metrics import evaluation_values
from tune_app.evaluation.model_card import told
from tune_app.journal.records import CellEvaluation
from tune_app.results.designs import CellResult
from tune_app.results.summary import SweepResults
from tune_app.study.found import Found
from tune_app.study.report_phases import cell_text

FINALISTS = ("finalists", "race")
"""Kinds of phases whose designs are evaluated."""


def evaluated_cells(results: SweepResults) -> dict[str, CellResult]:
    """A finished cell of each design, by the design's name: of the first seed that all have
    finished, else of its own first, so that what is compared differs in its design alone."""
    seeds = [{cell.seed for cell in one.finished} for one in results.designs if one.finished]
    common = min(set.intersection(*seeds), default=None) if seeds else None
    return {
        design.label: min(design.finished, key=lambda cell: (cell.seed != common, cell.seed))
        for design in results.designs
        if design.finished
    }


def evaluation_lines(found: Found) -> list[str]:
    """The evaluations of the finalists as Markdown, a column each; nothing if there are none."""
    phases = found.of(*FINALISTS)
    if not phases:
        return []
    results = phases[-1].results
    cells = evaluated_cells(results)
    values = {
        name: {(one.suite, one.split): one for one in cell.evaluations}
        for name, cell in cells.items()
    }
    rows = dict.fromkeys(row for mine in values.values() for row in mine)
    if not rows:
        return []
    baseline = {design.label for design in results.designs if design.is_baseline}
    names = [cell_text(name) + (" (baseline)" if name in baseline else "") for name in cells]
    lines = [f"| suite | split | {' | '.join(names)} |", f"|---|---|{'---|' * len(cells)}"]
    for suite, split in rows:
        shown = [
            "not evaluated" if one is None else cell_text(told(_values(one)))
            for one in (mine.get((suite, split)) for mine in values.values())
        ]
        lines.append(f"| {cell_text(suite)} | {cell_text(split)} | {' | '.join(shown)} |")
    seeds = ", ".join(dict.fromkeys(str(cell.seed) for cell in cells.values()))
    return [
        *lines,
        "",
        f"One cell of each, of seed {seeds}; ± is the standard error over documents or examples, "
        "not over seeds. The rest is in `summary.md` and `metrics.json` of each cell, in "
        f"`{results.sweep.name}/evaluations/`. The test split is scored for the verdict alone, "
        "once a cell.",
        "",
    ]


def _values(one: CellEvaluation) -> dict[str, Any]:
    return evaluation_values(one.suite, one.split, one.metrics, one.notes)
