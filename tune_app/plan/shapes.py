"""The admissible shapes of a plan's cells: what the solver's rule chooses from."""

from __future__ import annotations

from dataclasses import dataclass

from model.sizing.cost import training_flops_per_token
from model.sizing.counts import count_parameters
from model.sizing.search import alternatives
from model.spec import ModelConfig
from tune_app.plan.cell import Cell
from tune_app.plan.plan import SweepPlan


@dataclass(frozen=True, kw_only=True)
class AdmissibleShape:
    """Sizes that meet everything that a cell asks for: the best of their depth."""

    label: str
    """Of the cell."""
    config: ModelConfig
    parameters: int
    """Total."""
    flops_per_token: int
    """Training FLOPs, forward and backward."""
    cost: float
    """By the rule in model.sizing.search; the least is taken."""
    taken: bool
    """Whether the cell is trained with it."""


def admissible_shapes(plan: SweepPlan) -> list[AdmissibleShape]:
    """For each feasible cell one shape for each admissible depth, the shallowest first.

    For each admissible width if the cell pins its depth, see `model.sizing.search.alternatives`.
    """
    return [
        AdmissibleShape(
            label=cell.label,
            config=config,
            parameters=count_parameters(config).total,
            flops_per_token=training_flops_per_token(config),
            cost=cost,
            taken=config.values() == cell.config,
        )
        for cell in plan.feasible
        for config, cost in alternatives(Cell.from_values(cell.values).model).items()
    ]
