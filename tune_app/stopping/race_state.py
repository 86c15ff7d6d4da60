"""A sweep as a race: its designs, its blocks of seeds, and where they stand. Pure.

A design is a cell's values without the seed: in a sweep with nuisance axes each nuisance value
races by itself. The blocks are the sweep's seeds in the order of its cells.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tune_app.journal.records import Observation
from tune_app.plan.identity import canonical
from tune_app.statistics.racing import Pilot, SeedResiduals
from tune_app.stopping.curves import Curves, value_at, without_seed
from tune_app.stopping.divergence import diverged
from tune_app.stopping.racing import Departure, RaceSettings, RaceState, race


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The cells of a race by design and seed."""

    cells: Mapping[str, Mapping[int, str]]
    """Design → seed → key of the cell."""
    seeds: tuple[int, ...]
    """In the order of the blocks."""
    labels: Mapping[str, str]
    """Design → its name."""
    design_of: Mapping[str, str]
    """Key of a cell → design."""
    baseline: str | None
    """The baseline's design; None if it does not compete."""

    @classmethod
    def of(cls, curves: Curves) -> Grid:
        """The grid of a sweep's competing cells."""
        cells: dict[str, dict[int, str]] = {}
        labels: dict[str, str] = {}
        baseline = None
        for key, cell in curves.cells.items():
            if key not in curves.competing:
                continue
            seed = int(cell.values.get("seed", 0))
            design = json.dumps(canonical(without_seed(cell.values)), sort_keys=True)
            cells.setdefault(design, {})[seed] = key
            labels.setdefault(design, cell.label.removesuffix(f" × seed {seed}"))
            if curves.is_baseline(key):
                baseline = design
        return cls(
            cells=cells,
            seeds=tuple(dict.fromkeys(seed for own in cells.values() for seed in own)),
            labels=labels,
            design_of={key: design for design, own in cells.items() for key in own.values()},
            baseline=baseline,
        )


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where the race of a sweep stands."""

    grid: Grid
    state: RaceState
    pilot: Pilot | None
    """What is known of the noise of a difference; None for nothing."""
    scores: Mapping[str, Mapping[int, float]]
    """Design → seed → bits per byte of the full dev split; infinite if it diverged."""

    @property
    def seed(self) -> int | None:
        """Of the block that is open; None once the race has ended."""
        return None if self.state.end is not None else self.grid.seeds[self.state.seeds]

    @property
    def wanted(self) -> tuple[str, ...]:
        """The cells of the open block, the best design first, and the baseline's."""
        if self.seed is None:
            return ()
        designs = list(self.state.left)
        if self.grid.baseline is not None and self.grid.baseline not in designs:
            designs.append(self.grid.baseline)
        own = (self.grid.cells[design].get(self.seed) for design in designs)
        return tuple(key for key in own if key is not None)

    @property
    def reason(self) -> str:
        """In a sentence, with the names of the designs."""
        return self.state.told([self.grid.labels[design] for design in self.state.left])

    def departure(self, design: str) -> Departure | None:
        """Why a design left for another one; None if it did not."""
        return next((one for one in self.state.departures if one.design == design), None)

    def why_not(self, design: str) -> str:
        """Why a design is not trained on further seeds."""
        if (gone := self.departure(design)) is not None:
            return f"it left the race: {gone.told(self.grid.labels[gone.better])}"
        if design in self.state.left:
            return f"the race has ended: {self.reason}"
        return "it left the race when its cell was stopped or paused"


def standing(
    curves: Curves,
    settings: RaceSettings,
    *,
    pilot: Pilot | None = None,
    budget: int = 0,
    out: Collection[str] = (),
) -> Standing:
    """Where a race stands; the same whenever it is computed from the same curves.

    Args:
        curves: of all cells so far.
        settings: of the race.
        pilot: the noise of a difference as it was known before the sweep.
        budget: baseline tokens that all cells may train on together; 0 for no limit.
        out: cells that were stopped, or paused on their way, and do not go on.
    """
    grid = Grid.of(curves)
    ends = {key: point for key in grid.design_of if (point := _end(curves, key)) is not None}
    scores = {
        design: {seed: _score(ends[key]) for seed, key in own.items() if key in ends}
        for design, own in grid.cells.items()
    }
    parts = {
        design: {seed: ends[key].sample_parts for seed, key in own.items() if key in ends}
        for design, own in grid.cells.items()
    }
    # The baseline is immune: it goes on whatever a rule says. One that failed has no score.
    gone = {grid.design_of[key] for key in out if key in grid.design_of and key not in ends}
    gone |= {design for design, own in grid.cells.items() if len(own) < len(grid.seeds)}

    def at(*, affordable: bool) -> RaceState:
        return race(
            scores, grid.seeds, pilot, settings, affordable=affordable, out=gone, parts=parts
        )

    state = at(affordable=True)
    if state.end is None and not _affordable(curves, grid, state, budget):
        state = at(affordable=False)
    finite: dict[str, list[float]] = {}
    for design, own in scores.items():
        row = finite.setdefault(design, [])
        for seed in grid.seeds[: state.seeds]:
            if not math.isfinite(own.get(seed, math.inf)):
                break
            row.append(own[seed])
    return Standing(grid=grid, state=state, pilot=SeedResiduals(finite).pilot(pilot), scores=scores)


def _affordable(curves: Curves, grid: Grid, state: RaceState, budget: int) -> bool:
    """Whether there is another seed, and its block may be paid or has begun."""
    if state.seeds >= len(grid.seeds):
        return False
    if not budget:
        return True
    seed = grid.seeds[state.seeds]
    open_block = {own[seed] for design, own in grid.cells.items() if seed in own}
    spent = {key: _tokens(curves, key) for key in grid.design_of}
    if state.seeds and any(spent[key] for key in open_block):
        return True
    whole = max(spent.values(), default=0)
    cells = len(state.left) + (grid.baseline is not None and grid.baseline not in state.left)
    return not state.seeds or sum(spent.values()) + cells * whole <= budget


def _tokens(curves: Curves, key: str) -> int:
    own = curves.of(key)
    return own[-1].baseline_tokens if own else 0


def _end(curves: Curves, key: str) -> Observation | None:
    """The observation that ended a cell's training; None if it has not ended so."""
    own = curves.of(key)
    if own and (own[-1].full_bits_per_byte is not None or diverged(own[-1]) is not None):
        return own[-1]
    return None


def _score(end: Observation) -> float:
    score = end.full_bits_per_byte
    return score if score is not None and diverged(end) is None else math.inf


def rung_differences(
    curves: Curves, now: Standing, leader: str, tokens: float
) -> list[tuple[float, float]]:
    """Differences to the leader at so many tokens and at the end, of cells trained to their end."""
    pairs = []
    for design, own in now.scores.items():
        if design == leader:
            continue
        for seed, score in own.items():
            best = now.scores[leader].get(seed)
            there = difference_at(curves, now, (design, leader), seed=seed, tokens=tokens)
            if best is not None and there is not None and math.isfinite(score - best):
                pairs.append((there, score - best))
    return pairs


def difference_at(
    curves: Curves, now: Standing, pair: tuple[str, str], *, seed: int, tokens: float
) -> float | None:
    """By how much the first design's dev sample is worse than the second's on the same seed; None
    if one of the two has not come so far."""
    keys = [now.grid.cells[one].get(seed) for one in pair]
    levels = [
        None if key is None else value_at(curves.of(key), tokens, lambda one: one.bits_per_byte)
        for key in keys
    ]
    own, best = levels
    return None if own is None or best is None else own - best
