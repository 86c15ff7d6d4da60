"""What the phases so far have found: every run once, the seeds' noise, and the learning rate."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tune_app.journal.records import Status
from tune_app.plan.cell_names import CellNames
from tune_app.plan.identity import BASELINE, canonical
from tune_app.results.designs import CellResult
from tune_app.results.summary import SweepResults
from tune_app.statistics.best import ALPHA
from tune_app.statistics.noise import Noise, pooled
from tune_app.stopping.curves import value_at
from tune_app.study.frame import RATE
from tune_app.study.rate import RateChoice, settled_rate

_NOT_DESIGN = ("seed", "tokens")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A cell of a study."""

    key: str
    phase: str
    """That trained it first, or to its end."""
    values: Mapping[str, Any]
    seed: int
    tokens: int
    """Baseline tokens of a whole run."""
    status: Status
    score: float | None
    """Bits per byte of the full dev split; None if it did not finish."""
    test: float | None
    """Bits per byte of the test split."""
    result: CellResult

    @cached_property
    def design(self) -> str:
        """Equal for all runs of one design, whatever their seeds and tokens."""
        return design_key(self.values)


@dataclass(frozen=True, kw_only=True)
class LeftBehind:
    """A design that a scheduler left at a rung while others went on."""

    design: str
    milestone: int
    """Baseline tokens of the furthest rung that it reached."""
    bits_per_byte: float
    """Of the dev sample there; the mean of its seeds."""
    seeds: int


@dataclass(frozen=True, kw_only=True)
class PhaseFound:
    """A phase that has ended."""

    name: str
    kind: str
    results: SweepResults

    @property
    def origin(self) -> Mapping[str, Any]:
        return self.results.sweep.origin


@dataclass(frozen=True, kw_only=True)
class Found:
    """The phases that have ended, in order."""

    phases: tuple[PhaseFound, ...] = ()
    alpha: float = ALPHA

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Every cell once: as the first phase has it that trained it to its end, else the last."""
        runs: dict[str, Run] = {}
        for phase in self.phases:
            for cell in phase.results.cells:
                known = runs.get(cell.cell.key)
                if known is None or known.score is None:
                    runs[cell.cell.key] = _run(phase.name, cell)
        return tuple(runs.values())

    def of(self, *kinds: str) -> tuple[PhaseFound, ...]:
        """The phases of these kinds."""
        return tuple(phase for phase in self.phases if phase.kind in kinds)

    @cached_property
    def settled(self) -> RateChoice | None:
        """The learning rate that the baseline's phase settled on; None before there was one."""
        phases = self.of("baseline")
        if not phases:
            return None
        cells = phases[0].results.cells
        own = float(cells[0].cell.values[RATE])
        scores: dict[float, dict[int, float]] = {1.0: {}}
        for cell in cells:
            if cell.score is not None:
                factor = float(cell.cell.values[RATE]) / own
                scores.setdefault(factor, {})[cell.seed] = cell.score
        tokens = int(phases[0].results.sweep.tokens)
        return settled_rate(scores, noise=self.noise(tokens), alpha=self.alpha)

    @property
    def rate(self) -> float:
        """The factor of the learning rate that the study goes on with."""
        return 1.0 if self.settled is None else self.settled.factor

    def noise(self, tokens: int, *, without: Iterable[str] = ()) -> Noise | None:
        """The seeds' noise of runs of so many tokens, pooled over all designs with two seeds.

        without: names of phases whose own runs do not count.
        """
        left_out = set(without)
        groups: dict[str, list[float]] = {}
        for run in self.runs:
            if run.tokens == tokens and run.score is not None and run.phase not in left_out:
                groups.setdefault(run.design, []).append(run.score)
        return pooled(groups.values(), of="this study")

    def noise_curve(self, tokens: int, *, points: int = 4) -> list[tuple[int, Noise]]:
        """The noise of the dev sample's score along the curve: (baseline tokens, noise)."""
        found = []
        for at in range(1, points + 1):
            place = tokens * at / points
            groups: dict[str, list[float]] = {}
            for run in self.runs:
                if run.tokens != tokens:
                    continue
                level = value_at(run.result.curve, place, lambda one: one.bits_per_byte)
                if level is not None and math.isfinite(level):
                    groups.setdefault(run.design, []).append(level)
            noise = pooled(groups.values(), of="this study")
            if noise is not None:
                found.append((round(place), noise))
        return found

    def scores(self, tokens: int, *, kinds: Sequence[str] = ()) -> dict[str, dict[int, float]]:
        """Design → bits per byte by seed, of finished runs of so many tokens.

        kinds: only designs of such phases count, with all their runs; empty for all.
        """
        named = {
            design_key(cell.cell.values)
            for phase in self.phases
            if not kinds or phase.kind in kinds
            for cell in phase.results.cells
        }
        found: dict[str, dict[int, float]] = {}
        for run in self.runs:
            if run.tokens == tokens and run.score is not None and run.design in named:
                found.setdefault(run.design, {})[run.seed] = run.score
        return found

    def left_behind(self, tokens: int, *, kinds: Sequence[str]) -> list[LeftBehind]:
        """Designs of such phases of which no run finished, and that a scheduler paused or stopped
        at a rung: those that came furthest first, and of one rung the best first.

        Without those that a kill rule or a diverged loss ended.
        """
        finished = self.scores(tokens, kinds=kinds)
        names = {phase.name for phase in self.of(*kinds)}
        reached: dict[str, dict[int, list[float]]] = {}
        for run in self.runs:
            decision = run.result.decision
            if (
                run.tokens == tokens
                and run.phase in names
                and run.design not in finished
                and run.status in (Status.PAUSED, Status.STOPPED)
                and decision is not None
                and "milestone" in decision.evidence
            ):
                rungs = reached.setdefault(run.design, {})
                level = float(decision.evidence["bits_per_byte"])
                rungs.setdefault(int(decision.evidence["milestone"]), []).append(level)
        found = [
            LeftBehind(
                design=design,
                milestone=max(rungs),
                bits_per_byte=statistics.fmean(rungs[max(rungs)]),
                seeds=len(rungs[max(rungs)]),
            )
            for design, rungs in reached.items()
        ]
        return sorted(found, key=lambda one: (-one.milestone, one.bits_per_byte, one.design))

    def values_of(self, design: str) -> Mapping[str, Any]:
        """The values of a design, without seed and tokens."""
        run = next(run for run in self.runs if run.design == design)
        return without_run(run.values)


def design_key(values: Mapping[str, Any]) -> str:
    """Text that is equal for values that differ in nothing but seed and tokens."""
    return json.dumps(canonical(without_run(values)), sort_keys=True)


def without_run(values: Mapping[str, Any]) -> dict[str, Any]:
    """A cell's values without what may differ between runs of one design."""
    return {name: value for name, value in values.items() if name not in _NOT_DESIGN}


def differing(designs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The settings in which designs differ, without the baseline that they have within."""
    names = dict.fromkeys(name for values in designs for name in values)
    return tuple(
        name
        for name in names
        if name not in (*_NOT_DESIGN, BASELINE)
        and len({json.dumps(canonical(values.get(name))) for values in designs}) > 1
    )


def names_of(designs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A short name for each design, no two alike."""
    axes = differing(designs)
    return CellNames(list(designs), axes).all() if axes else ["the baseline"] * len(designs)


def mean_scores(scores: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """The mean of each design, best first; ties by name."""
    means = {name: statistics.fmean(mine.values()) for name, mine in scores.items() if mine}
    return dict(sorted(means.items(), key=lambda entry: (entry[1], entry[0])))


def noise_values(noise: Noise | None) -> Mapping[str, Any] | None:
    """The noise as plain values, for an origin record."""
    if noise is None:
        return None
    return {
        "sigma": noise.sigma,
        "degrees_of_freedom": noise.degrees_of_freedom,
        "runs": noise.runs,
    }


def _run(phase: str, cell: CellResult) -> Run:
    values = cell.cell.values
    return Run(
        key=cell.cell.key,
        phase=phase,
        values=values,
        seed=cell.seed,
        tokens=int(values["tokens"]),
        status=cell.cell.status,
        score=cell.score,
        test=None if cell.test is None else cell.test.bits_per_byte,
        result=cell,
    )
