"""The best value of each axis of a crossed grid, and the combination of them. Pure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tune_app.plan.identity import canonical
from tune_app.plan.labels import axis_name, describe_value
from tune_app.statistics.effects import Effect, main_effects
from tune_app.study.found import Found, PhaseFound, design_key, without_run

Names = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GridEffects:
    """The main effects of a phase that ranked a grid."""

    axes: tuple[Names, ...]
    """The settings of each axis; several vary together."""
    effects: tuple[Effect, ...]
    """By axis, without those on which all finished designs agree."""
    designs: Mapping[str, Mapping[str, Any]]
    """Design → values, of the grid's finished designs."""
    means: Mapping[str, float]
    stopped: int
    """Designs of the grid that did not finish, and so count nowhere."""

    def settings(self, axis: str, level: str) -> dict[str, Any]:
        """The settings that a level of an axis stands for."""
        return dict(zip(axis.split(", "), json.loads(level), strict=True))

    def combinations(self) -> list[dict[str, Any]]:
        """Settings of every combination of levels, the one that should be best first."""
        choices = [
            [(effect.axis, level.value, level.behind) for level in effect.levels]
            for effect in self.effects
        ]
        found = [
            (
                sum(behind for _, _, behind in chosen),
                {
                    name: value
                    for axis, level, _ in chosen
                    for name, value in self.settings(axis, level).items()
                },
            )
            for chosen in itertools.product(*choices)
        ]
        return [settings for _, settings in sorted(found, key=lambda one: one[0])]

    def text(self) -> str:
        """`expansion 2 (next 0.0123 behind, 0.0012 to 0.0234)`, for each axis."""
        return "; ".join(effect_text(effect) for effect in self.effects)


def grid_effects(found: Found, phase: PhaseFound) -> GridEffects:
    """The main effects of the grid that a phase ranked, of the designs that had finished by then.

    What later phases trained of it, as an audit does, does not change them.
    """
    found = replace(found, phases=found.phases[: found.phases.index(phase) + 1])
    listed = [
        (tuple(name) if isinstance(name, list) else (name,), values)
        for name, values in phase.origin["evidence"]["axes"]
    ]
    axes = tuple(names for names, _ in listed)
    known = [{_text(row if len(names) > 1 else [row]) for row in rows} for names, rows in listed]

    def on_grid(values: Mapping[str, Any]) -> bool:
        return all(
            _text([values.get(name) for name in names]) in rows
            for names, rows in zip(axes, known, strict=True)
        )

    tokens = int(phase.results.sweep.tokens)
    scores = found.scores(tokens)
    grid = {
        design_key(cell.cell.values): without_run(cell.cell.values)
        for cell in phase.results.cells
        if cell.cell.config is not None and on_grid(cell.cell.values)
    }
    finished = {design: values for design, values in grid.items() if scores.get(design)}
    means = {
        design: sum(mine) / len(mine) for design in finished if (mine := [*scores[design].values()])
    }
    rows = [
        {", ".join(names): _text([values.get(name) for name in names]) for names in axes}
        for values in finished.values()
    ]
    effects = main_effects(
        rows,
        list(means.values()),
        noise=found.noise(tokens),
        seeds=[len(scores[design]) for design in finished],
    )
    return GridEffects(
        axes=axes,
        effects=effects,
        designs=finished,
        means=means,
        stopped=len(grid) - len(finished),
    )


def effect_text(effect: Effect) -> str:
    """The best value of an axis and its lead, in a few words."""
    told = f"{level_name(effect.axis, effect.best.value)}"
    if len(effect.levels) < 2:
        return told
    second = effect.levels[1]
    lead = f"next {level_name(effect.axis, second.value)}, {second.behind:.4f} behind"
    if second.interval is not None:
        lead += f", {second.interval[0]:.4f} to {second.interval[1]:.4f}"
    return f"{told} ({lead}{'' if effect.told_apart else ', not told apart'})"


def axes_name(axis: str) -> str:
    """`expansion`, `embedding share with vocabulary`."""
    return " with ".join(axis_name(name) for name in axis.split(", "))


def level_name(axis: str, level: str) -> str:
    """`expansion 2.66`, `embedding share 0.25 with vocabulary 11,200`."""
    names, values = axis.split(", "), json.loads(level)
    told = [
        f"{axis_name(name)} {describe_value(name, value)}"
        for name, value in zip(names, values, strict=True)
    ]
    return " with ".join(told)


def effect_values(effects: Sequence[Effect]) -> list[dict[str, Any]]:
    """The effects as plain values, for an origin record."""
    return [
        {
            "axis": effect.axis,
            "told_apart": effect.told_apart,
            "levels": [
                {
                    "value": json.loads(level.value),
                    "behind": level.behind,
                    "interval": level.interval,
                    "designs": level.designs,
                }
                for level in effect.levels
            ],
        }
        for effect in effects
    ]


def _text(values: Any) -> str:
    return json.dumps(canonical(list(values)))
