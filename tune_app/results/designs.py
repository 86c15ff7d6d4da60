"""The cells of a sweep with all that is recorded about them, and the designs that they belong to.

Cells that differ only in their seed and in nuisance values form one design. Its value is the mean
over its finished seeds, at the nuisance value that is chosen for it.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tune_app.journal.records import (
    DIVERGED,
    PHASES,
    Attempt,
    CellEvaluation,
    CellRecord,
    Decision,
    Failure,
    Observation,
    Score,
    Status,
    SweepRecord,
)
from tune_app.plan.cell_names import CellNames
from tune_app.plan.identity import canonical
from tune_app.plan.labels import ordered
from tune_app.plan.nuisance import nuisance_text
from tune_app.statistics.nuisance import Choice, choose
from tune_app.stopping.curves import design_values


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """A cell with everything that the journal records about it."""

    cell: CellRecord
    curve: tuple[Observation, ...]
    """Evaluations on dev, by tokens."""
    decision: Decision | None
    """The decision that ended or paused the cell."""
    failures: tuple[Failure, ...]
    """In chronological order."""
    attempts: tuple[Attempt, ...]
    """In chronological order."""
    checkpoint: str | None = None
    """Path or URL of its newest checkpoint, relative to the sweep's folder if it is inside it."""
    test: Score | None = None
    """Its score on the test split, which ranks nothing; only leaders and the baseline have one."""
    evaluations: tuple[CellEvaluation, ...] = ()
    """What it scored in suites, in the order of writing."""
    dollars: float | None = None
    """For its time on machines with a price; None if it was on none."""

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
    def seed(self) -> int:
        return int(self.cell.values.get("seed", 0))

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
class NuisanceTrial:
    """The cells of a design at one combination of nuisance values, one a seed."""

    values: Mapping[str, Any]
    """The nuisance values by axis; empty in a sweep without nuisance axes."""
    cells: tuple[CellResult, ...]

    @property
    def name(self) -> str:
        """`learning rate factor 2`."""
        return nuisance_text(self.values, tuple(self.values))

    @property
    def scores(self) -> dict[int, float]:
        """Bits per byte on the full dev split, by seed."""
        return {cell.seed: score for cell in self.cells if (score := cell.score) is not None}

    @property
    def mean(self) -> float | None:
        """Mean bits per byte over the finished seeds."""
        return mean_of(self.scores.values())


@dataclass(frozen=True, kw_only=True)
class Design:
    """The cells that differ only in their seed and in nuisance values.

    It is compared at the nuisance value that `statistics.nuisance.choose` chooses.
    """

    label: str
    values: Mapping[str, Any]
    """Without the seed and the nuisance values."""
    trials: tuple[NuisanceTrial, ...]
    """By nuisance value, ascending; one, without values, in a sweep without nuisance axes."""
    seeds: tuple[int, ...]
    """Of the sweep, in its order."""
    is_baseline: bool

    @property
    def cells(self) -> tuple[CellResult, ...]:
        """All of them, in the sweep's order."""
        found = (cell for trial in self.trials for cell in trial.cells)
        return tuple(sorted(found, key=lambda cell: cell.cell.position))

    @cached_property
    def choice(self) -> Choice | None:
        """The nuisance value that it is compared at; None if none of its cells has finished."""
        return choose(
            [trial.scores for trial in self.trials],
            [trial.name for trial in self.trials],
            seeds=self.seeds,
            waiting=[
                [cell.seed for cell in trial.cells if cell.cell.status.waits]
                for trial in self.trials
            ],
        )

    @property
    def chosen(self) -> NuisanceTrial | None:
        """Its cells at the chosen nuisance value."""
        return None if self.choice is None else self.trials[self.choice.value]

    @property
    def finished(self) -> tuple[CellResult, ...]:
        """The cells whose scores count: at the chosen nuisance value, on seeds that did not choose
        it, as far as there are any."""
        chosen, choice = self.chosen, self.choice
        if chosen is None or choice is None:
            return ()
        return tuple(cell for cell in chosen.cells if cell.seed in choice.scored_on)

    @property
    def wanted(self) -> int:
        """Number of seeds whose scores would count if all had finished."""
        cells = self.trials[0].cells if self.chosen is None else self.chosen.cells
        held_out = self.choice is not None and self.choice.held_out
        chose = held_out and self.choice is not None and self.choice.chosen_on is not None
        return len(cells) - 1 if chose else len(cells)

    @property
    def spread(self) -> tuple[float, float] | None:
        """The lowest and the highest mean of its nuisance values; None if fewer than two."""
        means = [mean for trial in self.trials if (mean := trial.mean) is not None]
        return (min(means), max(means)) if len(means) > 1 else None

    @property
    def diverged(self) -> bool:
        """Whether any of its cells had a NaN or infinite loss."""
        return any(
            cell.decision is not None and cell.decision.rule == DIVERGED for cell in self.cells
        )

    @property
    def scores(self) -> dict[int, float]:
        """Bits per byte on the full dev split that count, by seed."""
        return {cell.seed: score for cell in self.finished if (score := cell.score) is not None}

    @property
    def mean(self) -> float | None:
        """Mean bits per byte over the seeds that count."""
        return mean_of(self.scores.values())

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over the finished seeds; None if fewer than two."""
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else None

    @property
    def test_scores(self) -> dict[int, float]:
        """Bits per byte on the test split, by seed; empty unless every finished seed has one."""
        scores = {
            cell.seed: cell.test.bits_per_byte for cell in self.finished if cell.test is not None
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
        """Mean over the finished seeds; with nuisance axes, of all its trials on a seed."""
        if len(self.trials) > 1:
            return self._a_seed(sum(cell.seconds["train"] for cell in self.cells))
        return mean_of(cell.seconds["train"] for cell in self.finished)

    @property
    def training_flops(self) -> float | None:
        """Mean over the finished seeds; with nuisance axes, of all its trials on a seed."""
        if len(self.trials) > 1:
            return self._a_seed(sum(cell.training_flops or 0.0 for cell in self.cells))
        return mean_of(
            flops for cell in self.finished if (flops := cell.training_flops) is not None
        )

    @property
    def dollars(self) -> float | None:
        """Mean over the finished seeds; with nuisance axes, of all its trials on a seed. None
        unless every such cell has a price."""
        several = len(self.trials) > 1
        cells = [cell for cell in self.cells if cell.last] if several else self.finished
        known = [cell.dollars for cell in cells if cell.dollars is not None]
        if not known or len(known) < len(cells):
            return None
        return self._a_seed(sum(known)) if several else mean_of(known)

    def _a_seed(self, total: float) -> float | None:
        """A cost of all its cells, stopped ones included, by the seeds that were trained."""
        seeds = {cell.seed for cell in self.cells if cell.last is not None}
        return total / len(seeds) if seeds and self.finished else None


def designs_of(sweep: SweepRecord, cells: Sequence[CellResult]) -> tuple[Design, ...]:
    """The designs of a sweep, in the order of their first cells."""
    groups: dict[str, list[CellResult]] = {}
    for result in cells:
        values = design_values(result.cell.values, sweep.nuisance)
        groups.setdefault(json.dumps(values, sort_keys=True), []).append(result)
    of_designs = [design_values(group[0].cell.values, sweep.nuisance) for group in groups.values()]
    labels = [
        # Cells are named by their axes, with the seed last if there are several.
        group[0].cell.label.removesuffix(f" × seed {group[0].seed}")
        for group in groups.values()
    ]
    if sweep.nuisance:
        axes = [axis for axis in sweep.axes if axis not in (*sweep.nuisance, "seed")]
        labels = CellNames(of_designs, axes).all()
    return tuple(
        Design(
            label=label,
            values=values,
            trials=_trials(group, sweep.nuisance),
            seeds=sweep.seeds,
            is_baseline=any(result.cell.key == sweep.baseline for result in group),
        )
        for label, values, group in zip(labels, of_designs, groups.values(), strict=True)
    )


def _trials(group: Sequence[CellResult], axes: Sequence[str]) -> tuple[NuisanceTrial, ...]:
    found: dict[str, list[CellResult]] = {}
    for result in group:
        key = json.dumps([canonical(result.cell.values.get(axis)) for axis in axes])
        found.setdefault(key, []).append(result)
    trials = [
        NuisanceTrial(
            values={axis: cells[0].cell.values.get(axis) for axis in axes}, cells=tuple(cells)
        )
        for cells in found.values()
    ]
    places = {axis: ordered([trial.values[axis] for trial in trials]) for axis in axes}
    return tuple(
        sorted(trials, key=lambda trial: [places[axis].index(trial.values[axis]) for axis in axes])
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
