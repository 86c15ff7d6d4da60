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
from tune_app.sweep.recorded_sizes import are_other_sizes, with_recorded_sizes

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
        assert not are_other_sizes(journal.cells(), planned_again(journal.cells()))


def with_seed(cell: PlannedCell, seed: int) -> PlannedCell:
    values = {**cell.values, "seed": seed}
    return replace(cell, key=Cell.from_values(values).key, values=values)


def test_what_is_recorded_keeps_its_sizes_and_so_do_more_seeds_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        recorded = journal.cells()
    monkeypatch.setattr(SOLVER, other_for(4.0))
    now = planned_again(recorded)
    assert are_other_sizes(recorded, now)
    more = [with_seed(cell, 1) for cell in now]
    kept = with_recorded_sizes(recorded, [*now, *more])
    sizes = [(cell.config, cell.baseline_config) for cell in recorded]
    assert [(cell.config, cell.baseline_config) for cell in kept] == sizes + sizes
    assert [cell.key for cell in kept] == [cell.key for cell in [*now, *more]]


def test_a_new_design_beside_sizes_of_another_rule_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        recorded = journal.cells()
    d_ff = next(cell.config["d_ff"] for cell in recorded if cell.config and "4" in cell.label)
    new = replace(recorded[0], key="new", label="3", values={"glu_expansion": 3.0})
    assert with_recorded_sizes(recorded, [*planned_again(recorded), new])[-1] is new
    monkeypatch.setattr(SOLVER, other_for(4.0))
    with pytest.raises(
        ValueError,
        match=r"^cell '3' is new in the sweep, but this version of Stellux chooses sizes by "
        rf"another rule than the one that began it \(cell '4': d_ff {d_ff} there, "
        rf"d_ff {d_ff + 8} now\), .* start a new one under another --name$",
    ):
        with_recorded_sizes(recorded, [*planned_again(recorded), new])


def test_another_baseline_and_a_budget_without_a_solution_are_other_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        recorded = journal.cells()
    unsolved = [replace(cell, config=None) for cell in recorded]
    assert are_other_sizes(recorded, unsolved)
    assert with_recorded_sizes(recorded, unsolved)[0].config == recorded[0].config
    now = planned_again(recorded)
    monkeypatch.setattr(SOLVER, other_for(2.66))
    other = [
        replace(cell, baseline_config=again.baseline_config)
        for cell, again in zip(now, planned_again(recorded), strict=True)
    ]
    assert are_other_sizes(recorded, other)
