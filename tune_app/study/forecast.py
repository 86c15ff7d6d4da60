"""What a study would cost: tokens and memory from its file, time from a few timed steps on this
machine, dollars from what its machines cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tune_app.dollars.limit import dollars as amount
from tune_app.formats import count, counted, duration, size
from tune_app.plan.cell import Cell
from tune_app.plan.plan import SweepPlan, plan_of_cells
from tune_app.results.whole_files import replacing
from tune_app.study.budget import PhaseCost, costs
from tune_app.study.found import Found, PhaseFound, design_key, differing
from tune_app.study.spec import Study
from tune_app.sweep.memory import cell_bytes

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
    memory: int | None = None
    """Bytes of the process of its largest cell that is known, roughly."""
    dollars: tuple[float, float] | None = None
    """Least and most, by what the machines cost; None if that is unknown."""
    whole: int | None = None
    """Baseline tokens of all runs, where they are of several lengths."""

    @property
    def total(self) -> int:
        """Baseline tokens of all runs."""
        return self.runs * self.tokens if self.whole is None else self.whole


def forecast(
    study: Study,
    timed: Timed | None = None,
    *,
    dollars_an_hour: tuple[float, float] | None = None,
    at_once: int = 1,
) -> tuple[PhaseForecast, ...]:
    """The worst case of each phase.

    Args:
        study: what would run.
        timed: times the runs; None: only runs, tokens and memory.
        dollars_an_hour: least and most that all machines together cost; None if it is unknown.
        at_once: cells trained in parallel, which share that cost.

    Designs that only earlier phases will choose take as long as the baseline, and as much memory as
    the largest of those that they are chosen from; a phase that ranks counts the designs that it
    has.
    """
    known = _known_designs(study)
    plan = _plan_of(study, known.values())
    pace = {} if timed is None else _pace(study, known, timed(plan))
    memory = {design: cell_bytes(cell) for design, cell in zip(known, plan.cells, strict=True)}
    found, largest = [], 0
    for cost in costs(study):
        designs = [design_key(cell.values()) for cell in cost.phase.known_designs(study)]
        largest = max([largest, *(memory[design] for design in designs)])
        seconds = _seconds(cost, designs, pace) if pace else None
        found.append(
            PhaseForecast(
                name=cost.phase.name,
                kind=cost.phase.KIND,
                runs=cost.runs,
                tokens=cost.tokens,
                seconds=seconds,
                memory=largest or None,
                dollars=_dollars(seconds, dollars_an_hour, at_once),
            )
        )
    return tuple(found)


def _dollars(
    seconds: float | None, an_hour: tuple[float, float] | None, at_once: int
) -> tuple[float, float] | None:
    if seconds is None or an_hour is None:
        return None
    hours = seconds / at_once / 3600
    return hours * an_hour[0], hours * an_hour[1]


def _known_designs(study: Study) -> dict[str, Cell]:
    """A cell of each design that is known before the study runs, the baseline first."""
    cells = [study.baseline_cell(tokens=study.tokens)]
    for phase in study.phases:
        cells += phase.known_designs(study)
    return {design_key(cell.values()): cell for cell in cells}


def _plan_of(study: Study, cells: Iterable[Cell]) -> SweepPlan:
    values = [{**cell.values(), "tokens": study.tokens} for cell in cells]
    return plan_of_cells(
        [Cell.from_values(one) for one in values],
        name=study.name,
        space=study.name,
        axes=differing(values),
    )


def _pace(study: Study, known: Iterable[str], seconds: Sequence[float | None]) -> dict[str, float]:
    """Seconds a baseline token by design, all from one measurement: machines have moods."""
    return {
        design: took / study.tokens
        for design, took in zip(known, seconds, strict=True)
        if took is not None
    }


def _seconds(cost: PhaseCost, designs: Iterable[str], pace: Mapping[str, float]) -> float:
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
            f"{count(one.total)} in all{_about(one.seconds, at_once)}{_paid(one.dollars)}"
            f"{_taken(one.memory)}",
        )
        for one in rows
    ]
    total = sum(one.total for one in rows)
    known = [one.seconds for one in rows if one.seconds is not None]
    paid = [one.dollars for one in rows if one.dollars is not None]
    dollars = (sum(low for low, _ in paid), sum(high for _, high in paid)) if paid else None
    of = "" if budget is None else f" of a budget of {count(budget)}"
    facts.append(
        (
            "together",
            f"{count(total)} tokens at most{of}"
            f"{_about(sum(known) if known else None, at_once)}{_paid(dollars)}; starting "
            "Ray and writing results take some seconds a phase on top, and stopped or adopted "
            "cells take less",
        )
    )
    return facts


def _about(seconds: float | None, at_once: int) -> str:
    return "" if seconds is None else f", about {duration(seconds / at_once)}"


def _paid(dollars: tuple[float, float] | None) -> str:
    return "" if dollars is None else f", {dollars_text(dollars)}"


def _taken(memory: int | None) -> str:
    return "" if memory is None else f", about {size(memory)} of memory a cell"


def dollars_text(dollars: tuple[float, float] | None) -> str:
    """`$1.20`, `$1.20 to $2.40`; empty if it is unknown."""
    if dollars is None:
        return ""
    low, high = (amount(one) for one in dollars)
    return low if low == high else f"{low} to {high}"


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
        return {one["name"]: _forecast_of(one) for one in values}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _forecast_of(values: Mapping[str, Any]) -> PhaseForecast:
    dollars = values.get("dollars")
    pair = None if dollars is None else (float(dollars[0]), float(dollars[1]))
    return PhaseForecast(**{**values, "dollars": pair})


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a phase trained itself."""

    runs: int
    tokens: int
    """Baseline tokens."""
    seconds: float
    """In its cells, one after another."""
    memory: float | None = None
    """Most bytes that one of their processes took; None where none was measured."""
    dollars: float | None = None
    """What it cost; None where nothing had a price."""
    head: float = 0.0
    """Of `dollars`: for the cluster's head."""


def spent(found: Found, phase: PhaseFound) -> Spent:
    """What a phase trained beyond what it adopted."""
    before: dict[str, tuple[int, float]] = {}
    for earlier in found.phases[: found.phases.index(phase)]:
        for cell in earlier.results.cells:
            if cell.last is not None:
                before[cell.cell.key] = cell.last.baseline_tokens, sum(cell.seconds.values())
    runs = tokens = 0
    seconds = 0.0
    memory: list[float] = []
    for cell in phase.results.cells:
        if cell.last is None:
            continue
        adopted, took = before.get(cell.cell.key, (0, 0.0))
        if cell.last.baseline_tokens > adopted:
            runs += 1
            tokens += cell.last.baseline_tokens - adopted
            seconds += max(0.0, sum(cell.seconds.values()) - took)
            peaks = [one.metrics.get("peak_memory") for one in cell.curve]
            memory += [peak for peak in peaks if peak is not None]
    most = max(memory, default=None)
    account = phase.results.account
    return Spent(
        runs=runs,
        tokens=tokens,
        seconds=seconds,
        memory=most,
        dollars=None if account is None else account.spent,
        head=0.0 if account is None else account.head,
    )
