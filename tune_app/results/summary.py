"""The result of a sweep, computed from its journal: curves, ranks, gaps and costs.

Pure: nothing here draws or writes. Only cells that trained to the end are ranked, by bits per byte
on the full dev split. A stopped cell has its last value on the sample of dev documents, which is
comparable only with other cells at the same tokens.

Cells that differ only in their seed form one design, whose value is the mean over its finished
seeds.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tune_app.journal.journal import Journal
from tune_app.journal.metrics import in_order, metric
from tune_app.journal.records import (
    DIVERGED,
    PHASES,
    Amendment,
    Attempt,
    CellRecord,
    Decision,
    Failure,
    Observation,
    Score,
    Status,
    SweepRecord,
)
from tune_app.plan.cell_names import CellNames
from tune_app.plan.labels import is_number, spans_decades
from tune_app.stopping.curves import Curves, interpolate, without_seed


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """A cell with everything that the journal records about it."""

    cell: CellRecord
    curve: tuple[Observation, ...]
    """Evaluations on dev, by tokens."""
    decision: Decision | None
    """The decision that ended the cell."""
    failures: tuple[Failure, ...]
    """In chronological order."""
    attempts: tuple[Attempt, ...]
    """In chronological order."""
    checkpoint: str | None = None
    """Path or URL of its newest checkpoint, relative to the sweep's folder if it is inside it."""
    test: Score | None = None
    """Its score on the test split, which ranks nothing; only leaders and the baseline have one."""

    @property
    def failure(self) -> Failure | None:
        """The failure that ended the cell; None if it has not failed."""
        if self.cell.status is not Status.FAILED:
            return None
        return next((one for one in reversed(self.failures) if one.ended), None)

    @property
    def resumes(self) -> int:
        """Number of attempts that resumed from a checkpoint."""
        return sum(bool(attempt.resumed_from) for attempt in self.attempts)

    @property
    def last(self) -> Observation | None:
        return self.curve[-1] if self.curve else None

    @property
    def points(self) -> list[tuple[int, float]]:
        """(baseline tokens, bits per byte on the sample) of each evaluation with a finite value."""
        return self.points_of("bits_per_byte")

    def points_of(self, name: str) -> list[tuple[int, float]]:
        """(baseline tokens, value of a metric) of every evaluation with a finite value."""
        return _points(self.curve, name)

    @property
    def score(self) -> float | None:
        """Bits per byte on the full dev split; None if the cell may not be ranked."""
        if self.cell.status is not Status.FINISHED or self.last is None:
            return None
        value = self.last.full_bits_per_byte
        return value if value is not None and math.isfinite(value) else None

    @property
    def seconds(self) -> dict[str, float]:
        """Wall seconds by phase, up to the cell's last report."""
        reported: Mapping[str, float] = {} if self.last is None else self.last.seconds
        return {phase: float(reported.get(phase, 0.0)) for phase in PHASES}

    @property
    def ended_at(self) -> float | None:
        """When the cell ended or failed, in seconds since the epoch."""
        if self.decision is not None:
            return self.decision.at
        return self.failure.at if self.failure is not None else None

    @property
    def training_flops(self) -> float | None:
        """FLOPs of the trained tokens, forward and backward."""
        if self.last is None or self.cell.flops_per_token is None:
            return None
        return self.cell.flops_per_token * self.last.tokens

    @property
    def tokens_per_second(self) -> float | None:
        """Training throughput over the whole cell, without other phases."""
        seconds = self.seconds["train"]
        return self.last.tokens / seconds if self.last is not None and seconds > 0 else None


@dataclass(frozen=True, kw_only=True)
class Design:
    """The cells that differ only in their seed."""

    label: str
    values: Mapping[str, Any]
    """Without the seed."""
    cells: tuple[CellResult, ...]
    is_baseline: bool

    @property
    def finished(self) -> tuple[CellResult, ...]:
        """The cells that may be ranked."""
        return tuple(cell for cell in self.cells if cell.score is not None)

    @property
    def diverged(self) -> bool:
        """Whether any of its cells had a NaN or infinite loss."""
        return any(
            cell.decision is not None and cell.decision.rule == DIVERGED for cell in self.cells
        )

    @property
    def scores(self) -> dict[int, float]:
        """Bits per byte on the full dev split, by seed."""
        return {
            cell.cell.values.get("seed", 0): score
            for cell in self.cells
            if (score := cell.score) is not None
        }

    @property
    def mean(self) -> float | None:
        """Mean bits per byte over the finished seeds."""
        return statistics.fmean(self.scores.values()) if self.scores else None

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over the finished seeds; None if fewer than two."""
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else None

    @property
    def test_scores(self) -> dict[int, float]:
        """Bits per byte on the test split, by seed; empty unless every finished seed has one."""
        scores = {
            cell.cell.values.get("seed", 0): cell.test.bits_per_byte
            for cell in self.finished
            if cell.test is not None
        }
        return scores if len(scores) == len(self.finished) else {}

    @property
    def test_mean(self) -> float | None:
        """Mean bits per byte on the test split over the finished seeds."""
        return _mean(self.test_scores.values())

    @property
    def perplexity(self) -> float | None:
        """On the full dev split, per own token; geometric mean over the finished seeds."""
        values = [
            last.full_perplexity
            for cell in self.finished
            if (last := cell.last) is not None and last.full_perplexity is not None
        ]
        return statistics.geometric_mean(values) if values else None

    @property
    def training_seconds(self) -> float | None:
        """Mean over the finished seeds."""
        return _mean(cell.seconds["train"] for cell in self.finished)

    @property
    def training_flops(self) -> float | None:
        """Mean over the finished seeds."""
        return _mean(flops for cell in self.finished if (flops := cell.training_flops) is not None)


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

    @cached_property
    def names(self) -> CellNames:
        """How values and combinations of them are called in this sweep."""
        return CellNames([result.cell.values for result in self.cells], self.sweep.axes)

    def is_logarithmic(self, axis: str) -> bool:
        """Whether the values on an axis are better shown on a logarithmic scale."""
        values = [design.values.get(axis) for design in self.designs]
        numbers = [value for value in values if value is not None and is_number(value)]
        positive = len(numbers) == len(values) and all(number > 0 for number in numbers)
        return (axis in self.sweep.log_axes and positive) or spans_decades(values)

    @property
    def title(self) -> str:
        """What the cells' names are made of; empty if they have names of another version."""
        values = [result.cell.values for result in self.cells]
        known = all(axis in one for one in values for axis in self.sweep.axes)
        return self.names.title if known else ""

    @property
    def axes(self) -> tuple[str, ...]:
        """The sweep's axes without the seed."""
        return tuple(axis for axis in self.sweep.axes if axis != "seed")

    @property
    def drawn_metrics(self) -> list[str]:
        """Metrics declared as drawn for which some cell has reported a finite value."""
        return in_order(
            name
            for result in self.cells
            for point in result.curve
            for name, value in point.metrics.items()
            if metric(name).drawn and math.isfinite(value)
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
        """Designs with a finished cell, best first; ties by label."""
        finished = [(design.mean, design.label, design) for design in self.designs]
        ranked = [entry for entry in finished if entry[0] is not None]
        return [design for _, _, design in sorted(ranked, key=lambda entry: entry[:2])]

    @property
    def leader(self) -> Design | None:
        ranking = self.ranking
        return ranking[0] if ranking else None

    @property
    def baseline(self) -> Design | None:
        return next((design for design in self.designs if design.is_baseline), None)

    def gap(self, design: Design) -> float | None:
        """Bits per byte above the baseline (negative: better), over the seeds both finished."""
        return _mean(gap for cell in design.cells if (gap := self.cell_gap(cell)) is not None)

    def cell_gap(self, cell: CellResult) -> float | None:
        """Bits per byte above the baseline's cell of the same seed, on the full dev split."""
        scores = {} if self.baseline is None else self.baseline.scores
        baseline = scores.get(cell.cell.values.get("seed", 0))
        return None if cell.score is None or baseline is None else cell.score - baseline

    def test_gap(self, design: Design) -> float | None:
        """Bits per byte above the baseline on the test split, over the seeds scored of both."""
        baseline = {} if self.baseline is None else self.baseline.test_scores
        return _mean(
            score - baseline[seed] for seed, score in design.test_scores.items() if seed in baseline
        )

    def gap_curve(self, cell: CellResult) -> list[tuple[int, float]]:
        """Bits per byte above the baseline's at equal tokens, on the sample of dev documents.

        Compares with the baseline on the cell's seed, whose curve is interpolated linearly in
        tokens and never extrapolated.
        """
        key = self.curves.baseline_of(cell.cell.key)
        if key is None:
            return []
        baseline = _points(self.curves.of(key), "bits_per_byte")
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
        """Share of the training FLOPs that stopping saved, over finished and stopped cells.

        None before one has ended. FLOPs are exact, while the seconds that a stopped cell would
        have taken can only be estimated.
        """
        whole = unspent = 0.0
        for result in self.with_status(Status.FINISHED, Status.STOPPED):
            spent = result.training_flops
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
        curves = Curves(records, baseline=sweep.baseline, observations=journal.observations())
        decisions, failures = journal.decisions(), journal.failures()
        attempts, checkpoints = journal.attempts(), journal.checkpoints()
        scores, amendments = journal.scores(), journal.amendments()
    tested = {score.cell: score for score in scores if score.split == "test"}
    endings = {decision.cell: decision for decision in decisions if decision.action.ends}
    cells = tuple(
        CellResult(
            cell=cell,
            curve=tuple(curves.of(cell.key)),
            decision=endings.get(cell.key),
            failures=tuple(failure for failure in failures if failure.cell == cell.key),
            attempts=tuple(attempt for attempt in attempts if attempt.cell == cell.key),
            checkpoint=checkpoints.get(cell.key),
            test=tested.get(cell.key),
        )
        for cell in records
    )
    return SweepResults(
        sweep=sweep,
        curves=curves,
        cells=cells,
        designs=_designs(sweep, cells),
        decisions=tuple(decisions),
        failures=tuple(failures),
        amendments=tuple(amendments),
    )


def _designs(sweep: SweepRecord, cells: Sequence[CellResult]) -> tuple[Design, ...]:
    groups: dict[str, list[CellResult]] = {}
    for result in cells:
        groups.setdefault(json.dumps(without_seed(result.cell.values), sort_keys=True), []).append(
            result
        )
    return tuple(
        Design(
            # Cells are named by their axes, with the seed last if there are several.
            label=group[0].cell.label.removesuffix(f" × seed {group[0].cell.values.get('seed')}"),
            values=without_seed(group[0].cell.values),
            cells=tuple(group),
            is_baseline=any(result.cell.key == sweep.baseline for result in group),
        )
        for group in groups.values()
    )


def _points(curve: Sequence[Observation], name: str) -> list[tuple[int, float]]:
    return [
        (point.baseline_tokens, value)
        for point in curve
        if (value := point.metrics.get(name)) is not None and math.isfinite(value)
    ]


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return statistics.fmean(known) if known else None
