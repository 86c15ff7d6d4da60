"""Ranks the designs of a space, and stops what falls behind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tune_app.plan import paired
from tune_app.plan.cell import Cell
from tune_app.plan.space import expand
from tune_app.study.found import Found
from tune_app.study.frame import Frame
from tune_app.study.phases.base import Entry, Phase, Promotion


@dataclass(frozen=True, kw_only=True)
class RankPhase(Phase):
    """Every combination of the axes at a few tokens."""

    KIND: ClassVar[str] = "rank"
    ABOUT: ClassVar[str] = "every design of the space"

    axes: Mapping[Any, Any] = field(default_factory=dict)
    """Setting → values; default: the study's."""
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    """The rule that stops cells by rank; default: the study's."""
    kill_rule: Mapping[str, Any] = field(default_factory=dict)
    """Against the baseline; default: the study's. With unit = "sigma" its margin is in the noise
    that the phases before have measured."""

    def check(self, study: Frame, before: Sequence[Phase]) -> None:
        axes = self.all_axes(study)
        if not axes:
            raise ValueError(
                f"the phase {self.name!r} has no cells: neither it nor the study names axes; add "
                "for example axes = { glu_expansion = [2.0, 2.66, 4.0] }"
            )
        paired.refuse_impossible(axes)
        for name, values in axes.items():
            if not isinstance(values, (list, tuple)) or not values:
                raise ValueError(
                    f"the phase {self.name!r} has no cells: {name} is {values!r}; it must be a "
                    "list of values"
                )
        self.designs(study)

    def all_axes(self, study: Frame) -> Mapping[Any, Any]:
        return self.axes or study.axes

    def designs(self, study: Frame, *, rate: float = 1.0) -> list[Cell]:
        """A cell of each design, the baseline first."""
        space = study.space(
            axes=self.all_axes(study), tokens=self.tokens_in(study), rate=rate, name=self.name
        )
        return list(expand(space, {}, seeds=(0,)).cells)

    def known_designs(self, study: Frame) -> list[Cell]:
        return self.designs(study)

    def most_runs(self, study: Frame) -> int:
        return len(self.designs(study)) * self.seeds

    def promote(self, study: Frame, found: Found, *, seeds: Sequence[int]) -> Promotion:
        cells = self.designs(study, rate=found.rate)
        kill_rule, told = self._kill_rule(study, found)
        return Promotion(
            entries=tuple(Entry(values=cell.values(), seeds=tuple(seeds)) for cell in cells),
            scheduler=self.scheduler or study.scheduler,
            kill_rule=kill_rule,
            reason=f"{len(cells)} designs, the baseline among them{told}",
            evidence={"axes": json.loads(json.dumps([list(pair) for pair in _rows(self, study)]))},
        )

    def _kill_rule(self, study: Frame, found: Found) -> tuple[Mapping[str, Any], str]:
        """The kill rule; one in σ with the noise that was measured along the curve."""
        rule = dict(self.kill_rule or study.kill_rule)
        curve = found.noise_curve(self.tokens_in(study))
        if rule.get("unit") != "sigma" or not curve:
            return rule, ""
        sigma = max(noise.sigma for _, noise in curve)
        times = float(rule.get("margin", 3.0))
        rule |= {"unit": "bpb", "margin": times * sigma}
        return rule, f"; the kill rule's margin is {times:g} σ of {sigma:.4f} bpb along the curve"


def _rows(phase: RankPhase, study: Frame) -> list[tuple[Any, Any]]:
    """The axes as plain values, in their order."""
    return [
        (list(name) if isinstance(name, tuple) else name, values)
        for name, values in phase.all_axes(study).items()
    ]
