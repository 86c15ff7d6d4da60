"""The sizes of a sweep that exists: a design keeps those that its journal records.

The rule that chooses among admissible sizes may differ between versions of the program. What is
recorded is trained with its recorded sizes, more seeds of it too. A design that is new is solved by
this version's rule, so it is refused in a sweep whose designs that rule would give other sizes:
they could not be compared. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from model.spec import ModelConfig
from tune_app.journal.records import CellRecord
from tune_app.plan.identity import canonical
from tune_app.plan.nuisance import TRAINING
from tune_app.plan.rows import PlannedCell
from tune_app.stopping.curves import design_values


def with_recorded_sizes(
    recorded: Sequence[CellRecord], cells: Sequence[PlannedCell]
) -> tuple[PlannedCell, ...]:
    """The cells, each with the sizes that the journal has for its design.

    Raises ValueError if a design is new and this version solves a recorded one to other sizes.
    """
    known = {_design(cell): cell for cell in reversed(recorded)}
    new = [cell for cell in cells if _design(cell) not in known]
    if new:
        _refuse_other_rule(recorded, cells, new[0])
    return tuple(_with_sizes_of(known.get(_design(cell)), cell) for cell in cells)


def are_other_sizes(recorded: Sequence[CellRecord], cells: Sequence[PlannedCell]) -> bool:
    """Whether this version solves a recorded cell to other sizes than the journal records."""
    return bool(_other_sizes(recorded, cells))


def _with_sizes_of(recorded: CellRecord | None, cell: PlannedCell) -> PlannedCell:
    if recorded is None or not _other_sizes_of(recorded, cell):
        return cell
    return replace(
        cell,
        reason=recorded.reason if recorded.config is None else "",
        config=recorded.config,
        # Older versions did not record the baseline's sizes; they are solved when needed.
        baseline_config=recorded.baseline_config or cell.baseline_config,
        parameters=recorded.parameters,
        flops_per_token=recorded.flops_per_token,
    )


def _refuse_other_rule(
    recorded: Sequence[CellRecord], cells: Sequence[PlannedCell], new: PlannedCell
) -> None:
    if other := _other_sizes(recorded, cells):
        raise ValueError(
            f"cell {new.label!r} is new in the sweep, but this version of Stellux chooses sizes by "
            f"another rule than the one that began it ({other}), so the new cells could not be "
            "compared with the old ones; continue the sweep with the cells that it has (more seeds "
            "of them are possible, and keep their sizes), or start a new one under another --name"
        )


def _other_sizes(recorded: Sequence[CellRecord], cells: Sequence[PlannedCell]) -> str:
    """The first cell that has other sizes now, with both; empty if there is none."""
    now = {cell.key: cell for cell in cells}
    found = (_other_sizes_of(cell, now[cell.key]) for cell in recorded if cell.key in now)
    return next((other for other in found if other), "")


def _other_sizes_of(recorded: CellRecord, cell: PlannedCell) -> str:
    pairs = [(f"cell {recorded.label!r}", recorded.config, cell.config)]
    if recorded.baseline_config is not None:
        baseline = f"the baseline of cell {recorded.label!r}"
        pairs.append((baseline, recorded.baseline_config, cell.baseline_config))
    for what, then, now in pairs:
        if differing := _differing(then, now):
            return f"{what}: {_sizes(then, differing)} there, {_sizes(now, differing)} now"
    return ""


def _differing(then: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> list[str]:
    one = {} if then is None else ModelConfig(**then).values()
    other = {} if now is None else ModelConfig(**now).values()
    return [name for name in one | other if one.get(name) != other.get(name)]


def _sizes(config: Mapping[str, Any] | None, names: Sequence[str]) -> str:
    if config is None:
        return "no sizes at all"
    # Fields that an older journal lacks have their defaults.
    sizes = ModelConfig(**config).values()
    return ", ".join(f"{name} {sizes[name]}" for name in names)


def _design(cell: PlannedCell) -> str:
    """Equal for cells that differ only in the seed and in how they are trained."""
    values = design_values(cell.values, TRAINING)
    return json.dumps(canonical(values), sort_keys=True)
