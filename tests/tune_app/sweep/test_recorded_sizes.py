"""Whether a journal is of the sweep that is asked for, down to the sizes of its models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.sizing.budget import InfeasibleBudget, solve
from model.spec import ModelConfig, ModelSpec
from tests.tune_app.sweeps import new_journal
from tune_app.plan.cell import Cell
from tune_app.plan.rows import PlannedCell
from tune_app.plan.solved import SolvedModels
from tune_app.sweep.extension import refuse_other_sizes

SOLVER = "tune_app.plan.solved.solve"


def planned_again(cells: list[Any]) -> list[PlannedCell]:
    """The same cells as the solver of now has them."""
    again = []
    for cell in cells:
        try:
            solved = SolvedModels.of(Cell.from_values(cell.values))
        except InfeasibleBudget:
            again.append(replace(cell, config=None, baseline_config=None))
        else:
            again.append(
                replace(
                    cell,
                    config=solved.model.values(),
                    baseline_config=solved.baseline.values(),
                )
            )
    return again


def other_for(expansion: float) -> Callable[[ModelSpec], ModelConfig]:
    """A solver of another version, which differs for one expansion."""

    def other(spec: ModelSpec) -> ModelConfig:
        config = solve(spec)
        if spec.glu_expansion != expansion:
            return config
        return replace(config, d_ff=config.d_ff + 8)

    return other


def test_the_sizes_of_the_journal_are_those_of_its_plan(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        for cell in journal.cells():
            assert cell.solved == SolvedModels.of(Cell.from_values(cell.values))
        refuse_other_sizes(journal.cells(), planned_again(journal.cells()))


def test_other_sizes_than_the_journals_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        d_ff = next(c.config["d_ff"] for c in journal.cells() if c.config and "4" in c.label)
        monkeypatch.setattr(SOLVER, other_for(4.0))
        cells = planned_again(journal.cells())
        with pytest.raises(
            ValueError,
            match=f"^cell '4' was planned with d_ff {d_ff}, but this version of Stellux solves it "
            f"to d_ff {d_ff + 8}; continue the sweep with the version that started it, "
            "or start a new one under another --name$",
        ):
            refuse_other_sizes(journal.cells(), cells)


def test_another_baseline_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        cells = planned_again(journal.cells())
        monkeypatch.setattr(SOLVER, other_for(2.66))
        other = [
            replace(cell, baseline_config=again.baseline_config)
            for cell, again in zip(cells, planned_again(cells), strict=True)
        ]
        with pytest.raises(ValueError, match=r"^the baseline of cell '2\.66' was planned"):
            refuse_other_sizes(journal.cells(), other)


def test_a_budget_that_has_no_solution_any_more_is_refused(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        cells = [replace(cell, config=None) for cell in journal.cells()]
        with pytest.raises(ValueError, match="solves it to no sizes at all"):
            refuse_other_sizes(journal.cells(), cells)
