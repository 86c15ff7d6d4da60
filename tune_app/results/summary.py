"""The result of a sweep, computed from its journal: curves, ranks, gaps and costs.

Pure: nothing here draws or writes. Only cells that trained to the end are ranked, by bits per byte
on the full dev split. A stopped cell has its last value on the sample of dev documents, which is
comparable only with other cells at the same tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tune_app.dollars.accounting import Account
from tune_app.journal.costs import account_of
from tune_app.journal.journal import Journal
from tune_app.journal.metrics import in_order, metric
from tune_app.journal.records import (
    ENDED_EARLY,
    PHASES,
    Action,
    Amendment,
    Decision,
    Failure,
    Status,
    SweepRecord,
)
from tune_app.plan.cell_names import CellNames
from tune_app.plan.labels import is_number, spans_decades
from tune_app.plan.search.records import SEARCH_TITLE, Round
from tune_app.results.contest import Contest, contest_of
from tune_app.results.designs import (
    CellResult,
    Design,
    designs_of,
    finite_points,
    mean_of,
)
from tune_app.stopping.curves import Curves, interpolate


@dataclass(frozen=True, kw_only=True)
class SweepResults:
    """A sweep, its cells in order, and its designs."""

    sweep: SweepRecord
    curves: Curves
    cells: tuple[CellResult, ...]
    designs: tuple[Design, ...]
    decisions: tuple[Decision, ...]
    """In chronological order."""
    failures: tuple[Failure, ...]
    """In chronological order, including those that ended only an attempt."""
    amendments: tuple[Amendment, ...]
    """The commands that changed the sweep after its start, in order."""
    rounds: tuple[Round, ...] = ()
    """Of a search, with its proposals."""
    account: Account | None = None
    """What it has cost; None if nothing in it has a price."""

    @cached_property
    def names(self) -> CellNames:
        """How values and combinations of them are called in this sweep."""
        return CellNames([result.cell.values for result in self.cells], self.sweep.axes)

    def is_logarithmic(self, axis: str) -> bool:
        """Whether the values on an axis are better shown on a logarithmic scale."""
        values = [result.cell.values.get(axis) for result in self.cells]
        numbers = [value for value in values if value is not None and is_number(value)]
        positive = len(numbers) == len(values) and all(number > 0 for number in numbers)
        return (axis in self.sweep.log_axes and positive) or spans_decades(values)

    @cached_property
    def _chosen(self) -> Mapping[str, Mapping[str, Any]]:
        """By the key of a cell: the settings that the sampler of a search chose for it."""
        return {one.cell: one.values for each in self.rounds for one in each.new if one.cell}

    def applies(self, design: Design, axis: str) -> bool:
        """Whether a design has a value of its own on an axis.

        In a search a design has only the settings whose conditions hold, and any other default.
        """
        found = next(
            (one for cell in design.cells if (one := self._chosen.get(cell.cell.key))), None
        )
        return found is None or axis in found or axis == "seed"

    def designs_on(self, axis: str) -> list[Design]:
        """The designs with a value on an axis: in a search, not those without such a setting."""
        return [
            design
            for design in self.designs
            if self.applies(design, axis)
            and not (self.sweep.search and design.values.get(axis) is None)
        ]

    @property
    def title(self) -> str:
        """What the cells' names are made of; empty if they have names of another version."""
        if self.sweep.search:
            return SEARCH_TITLE
        values = [result.cell.values for result in self.cells]
        known = all(axis in one for one in values for axis in self.sweep.axes)
        return self.names.title if known else ""

    @property
    def axes(self) -> tuple[str, ...]:
        """The sweep's axes without the seed and the nuisance axes: what designs differ in."""
        return tuple(axis for axis in self.sweep.axes if axis not in (*self.nuisance, "seed"))

    def apart_from(self, axis: str) -> list[str]:
        """The axes that do not vary together with this one, nor are it."""
        together = {name for names in self.sweep.paired if axis in names for name in names}
        return [other for other in self.axes if other not in {axis, *together}]

    @property
    def nuisance(self) -> tuple[str, ...]:
        """The axes that designs are compared at their best on."""
        return tuple(axis for axis in self.sweep.axes if axis in self.sweep.nuisance)

    @property
    def drawn_metrics(self) -> list[str]:
        """Metrics declared as drawn for which some cell has reported a finite value."""
        return [name for name in self.listed_metrics if metric(name).drawn]

    @property
    def listed_metrics(self) -> list[str]:
        """Those that are drawn, and those that are only listed by cell."""
        return in_order(
            name
            for result in self.cells
            for point in result.curve
            for name, value in point.metrics.items()
            if (metric(name).drawn or metric(name).listed) and math.isfinite(value)
        )

    @property
    def target_parameters(self) -> int | None:
        """The parameter budget of every model; None if the sweep varies it."""
        if "target_parameters" in self.axes:
            return None
        target = self.cells[0].cell.values.get("target_parameters")
        return target if isinstance(target, int) else None

    @property
    def ranking(self) -> list[Design]:
        """Designs with a finished cell, the lowest score first; ties by label.

        Noise may have decided their order: `contest` says what is told apart.

        In a sweep of several seeds, a design that was scored on the seed that chose its nuisance
        value comes after those that were not: its luck counts in its score. In a race the designs
        with more seeds come first: the others left it, and their seeds may be the easy ones.
        """
        several = len(self.sweep.seeds) > 1
        finished = [
            (
                several and not design.choice.held_out,
                -len(design.scores) if self.is_race else 0,
                mean,
                design.label,
                design,
            )
            for design in self.designs
            if design.choice is not None and (mean := design.mean) is not None
        ]
        return [design for *_, design in sorted(finished, key=lambda entry: entry[:4])]

    @property
    def is_race(self) -> bool:
        """Whether its designs compete seed by seed."""
        return self.sweep.scheduler.get("name") == "race"

    @property
    def leader(self) -> Design | None:
        ranking = self.ranking
        return ranking[0] if ranking else None

    @cached_property
    def contest(self) -> Contest:
        """The ranking against the seeds' noise."""
        return contest_of(self.designs, self.ranking)

    @property
    def baseline(self) -> Design | None:
        return next((design for design in self.designs if design.is_baseline), None)

    def gap(self, design: Design) -> float | None:
        """Bits per byte above the baseline (negative: better), over the seeds that count for both;
        each at its chosen nuisance value."""
        baseline = {} if self.baseline is None else self.baseline.scores
        return mean_of(
            score - baseline[seed] for seed, score in design.scores.items() if seed in baseline
        )

    def cell_gap(self, cell: CellResult) -> float | None:
        """Bits per byte above the baseline's cell of the same seed and nuisance values, on the full
        dev split."""
        key = self.curves.baseline_of(cell.cell.key)
        baseline = None if key is None else self._scores.get(key)
        return None if cell.score is None or baseline is None else cell.score - baseline

    @cached_property
    def _scores(self) -> Mapping[str, float | None]:
        return {cell.cell.key: cell.score for cell in self.cells}

    def test_gap(self, design: Design) -> float | None:
        """Bits per byte above the baseline on the test split, over the seeds scored of both."""
        baseline = {} if self.baseline is None else self.baseline.test_scores
        return mean_of(
            score - baseline[seed] for seed, score in design.test_scores.items() if seed in baseline
        )

    def gap_curve(self, cell: CellResult) -> list[tuple[int, float]]:
        """Bits per byte above the baseline's at equal tokens, on the sample of dev documents.

        Compares with the baseline on the cell's seed and at its nuisance values, whose curve is
        interpolated linearly in tokens and never extrapolated.
        """
        key = self.curves.baseline_of(cell.cell.key)
        if key is None:
            return []
        baseline = finite_points(self.curves.of(key), "bits_per_byte")
        return [
            (tokens, value - level)
            for tokens, value in cell.points
            if (level := interpolate(baseline, tokens)) is not None
        ]

    def with_status(self, *statuses: Status) -> list[CellResult]:
        return [cell for cell in self.cells if cell.cell.status in statuses]

    @property
    def seconds(self) -> dict[str, float]:
        """Wall seconds by phase, summed over the cells."""
        return {phase: sum(cell.seconds[phase] for cell in self.cells) for phase in PHASES}

    @property
    def saved_share(self) -> float | None:
        """Share of the training FLOPs that stopping and pausing saved, over the cells done.

        None before one has ended. FLOPs are exact, while the seconds that a stopped cell would
        have taken can only be estimated.
        """
        whole = unspent = 0.0
        for result in self.with_status(Status.FINISHED, *ENDED_EARLY):
            spent = result.training_flops
            if result.last is None and result.cell.flops_per_token is not None:
                # It waited, and never had to start.
                never = result.cell.flops_per_token * self.sweep.tokens
                whole, unspent = whole + never, unspent + never
            if spent is None or result.last is None or result.last.baseline_tokens == 0:
                continue
            fraction = min(1.0, result.last.baseline_tokens / self.sweep.tokens)
            if result.cell.status is Status.FINISHED:
                fraction = 1.0
            whole += spent / fraction
            unspent += spent / fraction - spent
        return unspent / whole if whole else None


def summarise(journal: Journal) -> SweepResults:
    """The results of a sweep, from one consistent read of its journal."""
    with journal.one_moment():
        sweep, records = journal.sweep(), journal.cells()
        curves = Curves(
            records,
            baseline=sweep.baseline,
            nuisance=sweep.nuisance,
            observations=journal.observations(),
        )
        decisions, failures = journal.decisions(), journal.failures()
        attempts, checkpoints = journal.attempts(), journal.checkpoints()
        scores, amendments = journal.scores(), journal.amendments()
        rounds = journal.rounds()
        evaluations = journal.evaluations()
        account = account_of(journal)
    charged = {} if account is None else account.cells
    tested = {score.cell: score for score in scores if score.split == "test"}
    last = {one.cell: one for one in decisions if one.action.ends or one.action is Action.PAUSE}
    endings = {cell.key: last.get(cell.key) for cell in records if cell.status.done}
    cells = tuple(
        CellResult(
            cell=cell,
            curve=tuple(curves.of(cell.key)),
            decision=endings.get(cell.key),
            failures=tuple(failure for failure in failures if failure.cell == cell.key),
            attempts=tuple(attempt for attempt in attempts if attempt.cell == cell.key),
            checkpoint=checkpoints.get(cell.key),
            test=tested.get(cell.key),
            evaluations=tuple(one for one in evaluations if one.cell == cell.key),
            dollars=charged.get(cell.key),
        )
        for cell in records
    )
    return SweepResults(
        sweep=sweep,
        curves=curves,
        cells=cells,
        designs=designs_of(sweep, cells),
        decisions=tuple(decisions),
        failures=tuple(failures),
        amendments=tuple(amendments),
        rounds=tuple(rounds),
        account=account,
    )
