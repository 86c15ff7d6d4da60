"""The ranking at equal tokens, equal training FLOPs and equal measured seconds, side by side. Pure.

In each unit the ranked designs are compared at the largest budget that all of them have reached,
on their recorded curves: scores on the sample of dev documents, interpolated linearly between two
evaluations and never extrapolated.

Learning-rate schedules end with the tokens. A cell that is read before its end has not had its low
rates yet, so its score is not that of a run planned for that budget: it is worse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tune_app import formats
from tune_app.journal.records import Observation
from tune_app.results.designs import CellResult, Design
from tune_app.results.summary import SweepResults
from tune_app.results.tables import Row
from tune_app.results.verdict import difference_text
from tune_app.stopping.curves import interpolate

Spent = Callable[[CellResult, Observation], float | None]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What is made equal."""

    name: str
    spent: Spent
    """How much of it a cell has spent at an evaluation; None if that is not known."""
    text: Callable[[float], str]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A design at a budget."""

    design: Design
    rank: int
    """1 for the best."""
    score: float
    """Bits per byte on the sample, the mean over its seeds."""
    done: float
    """Share of its training tokens that it has trained at the budget, the mean over its seeds."""


@dataclass(frozen=True, kw_only=True)
class View:
    """All ranked designs at one budget, best first."""

    unit: Unit
    budget: float
    places: tuple[Place, ...]

    @property
    def leader(self) -> Design:
        return self.places[0].design

    def place(self, design: Design) -> Place:
        return next(one for one in self.places if one.design is design)


def views(results: SweepResults) -> tuple[View, ...]:
    """The ranking in each unit; empty until two designs have finished.

    A unit is left out if some cell's spending is not known, or if no budget lies on all curves.
    """
    designs = results.ranking
    if len(designs) < 2:
        return ()
    found = (_view(results, unit, designs) for unit in UNITS)
    return tuple(view for view in found if view is not None)


def _view(results: SweepResults, unit: Unit, designs: Sequence[Design]) -> View | None:
    curves = {
        cell.cell.key: _curve(unit, cell, "bits_per_byte") for d in designs for cell in d.finished
    }
    if not all(curves.values()):
        return None
    budget = min(curve[-1][0] for curve in curves.values())
    scored = []
    for design in designs:
        scores = [interpolate(curves[cell.cell.key], budget) for cell in design.finished]
        shares = [_share(results, unit, cell, budget) for cell in design.finished]
        if None in scores or None in shares:
            return None
        known = [score for score in scores if score is not None]
        done = [share for share in shares if share is not None]
        scored.append((sum(known) / len(known), sum(done) / len(done), design))
    scored.sort(key=lambda entry: (entry[0], entry[2].label))
    return View(
        unit=unit,
        budget=budget,
        places=tuple(
            Place(design=design, rank=rank, score=score, done=done)
            for rank, (score, done, design) in enumerate(scored, 1)
        ),
    )


def _curve(unit: Unit, cell: CellResult, metric: str) -> list[tuple[float, float]]:
    """(spent, value) of the evaluations at which both are known, strictly growing in what is spent.

    Seconds may stand still, or be less after an attempt that was lost: of such points the first
    one counts.
    """
    points: list[tuple[float, float]] = []
    for observation in cell.curve:
        spent, value = unit.spent(cell, observation), observation.metrics.get(metric)
        if spent is None or value is None or not math.isfinite(value):
            continue
        if not points or spent > points[-1][0]:
            points.append((spent, value))
    return points


def _share(results: SweepResults, unit: Unit, cell: CellResult, budget: float) -> float | None:
    curve: list[tuple[float, float]] = []
    for observation in cell.curve:
        spent = unit.spent(cell, observation)
        if spent is not None and (not curve or spent > curve[-1][0]):
            curve.append((spent, observation.baseline_tokens / results.sweep.tokens))
    share = interpolate(curve, budget)
    return None if share is None else min(1.0, share)


def view_sentences(results: SweepResults) -> list[str]:
    """Where the leader changes between the units, and by how much; or that it does not."""
    found = views(results)
    if len(found) < 2:
        return []
    first, *others = found
    sentences = []
    for view in others:
        if view.leader is first.leader:
            continue
        before, now = view.place(first.leader), view.places[0]
        sentences.append(
            f"At equal {view.unit.name} ({view.unit.text(view.budget)}) {now.design.label} leads, "
            f"{formats.bits_per_byte(before.score - now.score)} bits per byte"
            f"{_by_noise(results, before, now)} ahead of "
            f"{first.leader.label}, which leads at equal {first.unit.name}; by then "
            f"{now.design.label} has trained {now.done:.0%} of its tokens, {first.leader.label} "
            f"{before.done:.0%}."
        )
    if not sentences:
        names = _or([view.unit.name for view in found])
        return [f"{first.leader.label} leads at equal {names} alike."]
    return sentences


def _by_noise(results: SweepResults, before: Place, now: Place) -> str:
    """The gap in σ of the whole split at the end, which is rather less than that of the sample."""
    seeds = min(len(place.design.finished) for place in (before, now))
    text = difference_text(results, before.score - now.score, seeds=seeds)
    return f" ({text.removeprefix(', ')})" if text else ""


def view_section(results: SweepResults) -> dict[str, Any] | None:
    """The report's section; None until two designs have finished."""
    found = views(results)
    if not found:
        return None
    return {
        "heads": [f"equal {view.unit.name} ({view.unit.text(view.budget)})" for view in found],
        "rows": [
            {
                "place": place,
                "label": design.label,
                "views": [_entry(view.place(design), place) for view in found],
            }
            for place, design in enumerate(results.ranking, 1)
        ],
        "sentences": view_sentences(results),
    }


def _entry(place: Place, rank: int) -> dict[str, Any]:
    return {
        "rank": place.rank,
        "moved": place.rank != rank,
        "score": formats.bits_per_byte(place.score),
        "done": f"{place.done:.0%}",
    }


def view_rows(results: SweepResults) -> list[Row]:
    """A row for each ranked design and unit, best first within a unit."""
    return [
        {
            "equal": view.unit.name,
            "budget": view.budget,
            "rank": place.rank,
            "design": place.design.label,
            "sample_bits_per_byte": place.score,
            "share_of_tokens": place.done,
            "seeds_scored": len(place.design.finished),
        }
        for view in views(results)
        for place in view.places
    ]


def _or(names: Sequence[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1]))


def _flops(cell: CellResult, observation: Observation) -> float | None:
    per_token = cell.cell.flops_per_token
    return None if per_token is None else per_token * observation.tokens


def _seconds(cell: CellResult, observation: Observation) -> float | None:
    return observation.seconds.get("train")


UNITS = (
    Unit(
        name="tokens",
        spent=lambda cell, observation: float(observation.baseline_tokens),
        text=formats.count,
    ),
    Unit(name="training FLOPs", spent=_flops, text=lambda value: f"{value:.2e}"),
    Unit(name="training seconds", spent=_seconds, text=formats.duration),
)
"""Training only: evaluation and checkpoints cost other seconds, and their FLOPs are not counted."""
