"""A cell with its solved sizes, or with the reason why it has none."""

from __future__ import annotations

from dataclasses import replace

from model.sizing.budget import InfeasibleBudget
from model.sizing.cost import training_flops_per_token
from model.sizing.table import parameter_table
from tune_app.plan.cell import Cell
from tune_app.plan.rows import PlannedCell
from tune_app.plan.solved import SolvedModels


def planned_cell(cell: Cell, position: int) -> PlannedCell:
    """The cell solved; its label is its key until the sweep names it."""
    planned = PlannedCell(
        key=cell.key,
        former_key=cell.former_key,
        label=cell.key,
        position=position,
        values=cell.values(),
    )
    try:
        solved = SolvedModels.of(cell)
    except InfeasibleBudget as error:
        return replace(planned, reason=str(error))
    return replace(
        planned,
        config=solved.model.values(),
        baseline_config=solved.baseline.values(),
        parameters=parameter_table(solved.model).as_dict(),
        flops_per_token=training_flops_per_token(solved.model),
    )
