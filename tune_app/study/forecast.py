"""What a study would cost: tokens from its file, time from a few timed steps on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tune_app.formats import count, counted, duration
from tune_app.plan.cell import Cell
from tune_app.plan.plan import SweepPlan, plan_of_cells
from tune_app.results.whole_files import replacing
from tune_app.study.budget import PhaseCost, costs
from tune_app.study.found import Found, PhaseFound, design_key, differing
from tune_app.study.spec import Study

FILE = "forecast.json"

Timed = Callable[[SweepPlan], Sequence[float | None]]
"""Seconds that each cell of a plan takes, trained to its end and scored; None if infeasible."""


@dataclass(frozen=True, kw_only=True)
class PhaseForecast:
    """A phase at its most expensive: nothing is stopped, and nothing adopted."""

    name: str
    kind: str
    runs: int
    tokens: int
    """Baseline tokens of one run."""
    seconds: float | None
    """Of all runs, one after another; None if it was not timed."""

    @property
    def total(self) -> int:
        """Baseline tokens of all runs."""
        return self.runs * self.tokens


def forecast(study: Study, timed: Timed | None = None) -> tuple[PhaseForecast, ...]:
    """The worst case of each phase.

    Args:
        study: what would run.
        timed: times the runs; None: only runs and tokens.

    Designs that only earlier phases will choose count as the baseline; a phase that ranks counts
    the designs that it has.
    """
    pace = {} if timed is None else _pace(study, timed)
    return tuple(
        PhaseForecast(
            name=cost.phase.name,
            kind=cost.phase.KIND,
            runs=cost.runs,
            tokens=cost.tokens,
            seconds=_seconds(study, cost, pace) if pace else None,
        )
        for cost in costs(study)
    )


def _pace(study: Study, timed: Timed) -> dict[str, float]:
    """Seconds a baseline token by design, all from one measurement: machines have moods."""
    cells = [study.baseline_cell(tokens=study.tokens)]
    for phase in study.phases:
        cells += phase.known_designs(study)
    known = {design_key(cell.values()): cell for cell in cells}
    values = [{**cell.values(), "tokens": study.tokens} for cell in known.values()]
    plan = plan_of_cells(
        [Cell.from_values(one) for one in values],
        name=study.name,
        space=study.name,
        axes=differing(values),
    )
    return {
        design: seconds / study.tokens
        for design, seconds in zip(known, timed(plan), strict=True)
        if seconds is not None
    }


def _seconds(study: Study, cost: PhaseCost, pace: Mapping[str, float]) -> float:
    designs = [design_key(cell.values()) for cell in cost.phase.known_designs(study)]
    known = [pace[design] for design in designs if design in pace]
    return cost.total * sum(known) / len(known)


def forecast_lines(
    found: Iterable[PhaseForecast], *, budget: int | None, at_once: int = 1
) -> list[tuple[str, str]]:
    """The forecast as facts: name and text.

    at_once: cells trained in parallel.
    """
    rows = list(found)
    facts = [
        (
            one.name,
            f"{counted(one.runs, 'run')} of {count(one.tokens)} tokens at most, "
            f"{count(one.total)} in all{_about(one.seconds, at_once)}",
        )
        for one in rows
    ]
    total = sum(one.total for one in rows)
    known = [one.seconds for one in rows if one.seconds is not None]
    of = "" if budget is None else f" of a budget of {count(budget)}"
    facts.append(
        (
            "together",
            f"{count(total)} tokens at most{of}"
            f"{_about(sum(known) if known else None, at_once)}; starting Ray and writing results "
            "take some seconds a phase on top, and stopped or adopted cells take less",
        )
    )
    return facts


def _about(seconds: float | None, at_once: int) -> str:
    return "" if seconds is None else f", about {duration(seconds / at_once)}"


def keep_forecast(folder: Path, found: Sequence[PhaseForecast]) -> None:
    """Writes the forecast into the study's folder, for its report; the first one stays."""
    if (folder / FILE).exists():
        return
    with replacing(folder / FILE) as path:
        path.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n", "utf-8")


def kept_forecast(folder: Path) -> dict[str, PhaseForecast]:
    """The forecast that the study began with, by phase; empty if there is none."""
    try:
        values: list[Mapping[str, Any]] = json.loads((folder / FILE).read_text("utf-8"))
        return {one["name"]: PhaseForecast(**one) for one in values}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a phase trained itself."""

    runs: int
    tokens: int
    """Baseline tokens."""
    seconds: float
    """In its cells, one after another."""


def spent(found: Found, phase: PhaseFound) -> Spent:
    """What a phase trained beyond what it adopted."""
    before: dict[str, tuple[int, float]] = {}
    for earlier in found.phases[: found.phases.index(phase)]:
        for cell in earlier.results.cells:
            if cell.last is not None:
                before[cell.cell.key] = cell.last.baseline_tokens, sum(cell.seconds.values())
    runs = tokens = 0
    seconds = 0.0
    for cell in phase.results.cells:
        if cell.last is None:
            continue
        adopted, took = before.get(cell.cell.key, (0, 0.0))
        if cell.last.baseline_tokens > adopted:
            runs += 1
            tokens += cell.last.baseline_tokens - adopted
            seconds += max(0.0, sum(cell.seconds.values()) - took)
    return Spent(runs=runs, tokens=tokens, seconds=seconds)
