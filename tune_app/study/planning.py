"""From a promotion to an ordinary sweep with its record of origin. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tune_app.plan.cell import Cell
from tune_app.plan.plan import SweepPlan, plan_of_cells
from tune_app.plan.space import Space
from tune_app.plan.wishes import Wishes
from tune_app.stopping.all_rules import StoppingRules
from tune_app.stopping.sweep_rules import planned_rules
from tune_app.study.found import Found, differing, noise_values
from tune_app.study.phases.base import Phase, Promotion
from tune_app.study.spec import Study


@dataclass(frozen=True, kw_only=True)
class PlannedPhase:
    """A phase, ready to run as a sweep."""

    number: int
    phase: Phase
    promotion: Promotion
    plan: SweepPlan
    rules: StoppingRules
    origin: Mapping[str, Any]
    """Why it trains what it trains; equal for equal evidence."""

    @property
    def folder(self) -> str:
        """In the study's folder."""
        return folder_of(self.number, self.phase)


def folder_of(number: int, phase: Phase) -> str:
    """A phase's folder in the study's."""
    return f"{number}-{phase.name}"


def planned_phase(study: Study, number: int, found: Found) -> PlannedPhase:
    """A phase of a study, from what the phases before it have found.

    Raises PromotionError if they leave nothing to train, ValueError for impossible settings.
    """
    phase = study.phases[number]
    promotion = phase.promote(study, found, seeds=study.seeds_of(phase))
    cells: dict[str, Cell] = {}
    for entry in promotion.entries:
        for seed in entry.seeds:
            cell = Cell.from_values({**entry.values, "seed": seed})
            cells.setdefault(cell.key, cell)
    designs = [entry.values for entry in promotion.entries]
    plan = plan_of_cells(
        list(cells.values()),
        name=folder_of(number, phase),
        space=f"{study.name}: {phase.name}",
        axes=differing(designs),
        nuisance=promotion.nuisance,
    )
    rules = planned_rules(
        Space(
            name=phase.name,
            axes={},
            scheduler=promotion.scheduler,
            kill_rule=promotion.kill_rule,
            source=study.source,
        ),
        Wishes(seeds=plan.seeds),
        tokens=plan.tokens,
    )
    return PlannedPhase(
        number=number,
        phase=phase,
        promotion=promotion,
        plan=plan,
        rules=rules,
        origin=_origin(study, number, promotion, found, plan),
    )


def _origin(
    study: Study, number: int, promotion: Promotion, found: Found, plan: SweepPlan
) -> Mapping[str, Any]:
    phase = study.phases[number]
    origin: dict[str, Any] = {
        "study": study.name,
        "phase": phase.name,
        "kind": phase.KIND,
        "number": number,
        "after": [one.name for one in found.phases],
        "reason": promotion.reason,
        "evidence": promotion.evidence,
        "sigma": noise_values(found.noise(plan.tokens)),
        "rate": found.rate,
        "cells": [cell.key for cell in plan.cells],
    }
    if found.settled is not None:
        origin["rate_reason"] = found.settled.reason
        origin["rate_evidence"] = found.settled.evidence
    # As the journal gives it back.
    plain: Mapping[str, Any] = json.loads(json.dumps(origin, sort_keys=True))
    return plain
