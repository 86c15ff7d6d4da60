"""The solved models of a cell: solved once, in the plan, then passed on to the trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.sizing.budget import InfeasibleBudget, solve
from model.spec import ModelConfig
from tune_app.plan.cell import Cell


@dataclass(frozen=True, kw_only=True)
class SolvedModels:
    """The sizes of a cell's model and of its baseline."""

    model: ModelConfig
    baseline: ModelConfig

    @classmethod
    def of(cls, cell: Cell) -> SolvedModels:
        """Runs the solver. Raises InfeasibleBudget if there is no solution, saying for which."""
        model = solve(cell.model)
        try:
            return cls(model=model, baseline=solve(cell.baseline))
        except InfeasibleBudget as error:
            error.args = (
                f"the cell's baseline, whose learning rate is transferred, is infeasible: {error}; "
                'or give the cell another "baseline"',
            )
            raise

    @classmethod
    def from_values(cls, values: Mapping[str, Mapping[str, Any]]) -> SolvedModels:
        """The inverse of `values`, also after a round trip through JSON."""
        return cls(model=ModelConfig(**values["model"]), baseline=ModelConfig(**values["baseline"]))

    def values(self) -> dict[str, dict[str, Any]]:
        return {"model": self.model.values(), "baseline": self.baseline.values()}
