"""The cells of a sweep with all that is recorded about them, and the designs that they belong to.

Cells that differ only in their seed form one design, whose value is the mean over its finished
seeds.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tune_app.journal.records import (
    DIVERGED,
    PHASES,
    Attempt,
    CellRecord,
    Decision,
    Failure,
    Observation,
    Score,
    Status,
    SweepRecord,
)
from tune_app.stopping.curves import without_seed


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
        return finite_points(self.curve, name)

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
        return mean_of(self.test_scores.values())

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
        return mean_of(cell.seconds["train"] for cell in self.finished)

    @property
    def training_flops(self) -> float | None:
        """Mean over the finished seeds."""
        return mean_of(
            flops for cell in self.finished if (flops := cell.training_flops) is not None
        )


def designs_of(sweep: SweepRecord, cells: Sequence[CellResult]) -> tuple[Design, ...]:
    """The designs of a sweep, in the order of their first cells."""
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


def finite_points(curve: Sequence[Observation], name: str) -> list[tuple[int, float]]:
    """(baseline tokens, value of a metric) of every evaluation with a finite value."""
    return [
        (point.baseline_tokens, value)
        for point in curve
        if (value := point.metrics.get(name)) is not None and math.isfinite(value)
    ]


def mean_of(values: Iterable[float]) -> float | None:
    """The mean; None of nothing."""
    known = list(values)
    return statistics.fmean(known) if known else None
