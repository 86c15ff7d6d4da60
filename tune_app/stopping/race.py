"""The race as a scheduler: designs are trained seed by seed, and leave once others are better.

All designs are trained on the first seed. Those that are left after a block of seeds go on to the
next one; the cells of later blocks wait, paused before their first step, until theirs is open. How
a design leaves and how a race ends is in `racing.py`, where a sweep stands in `race_state.py`.

Within a block a cell pauses at a rung only if its difference to the leader is beyond what the drift
of the curves, as it was measured on finished cells, and the seeds' noise account for; its design
then leaves. The baseline takes part in every block that is opened, also after it has left: the kill
rule and the results compare with it seed by seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from tune_app.journal.records import Action, Observation
from tune_app.statistics.racing import Pilot
from tune_app.stopping.curves import Curves
from tune_app.stopping.race_state import Standing, difference_at, rung_differences, standing
from tune_app.stopping.racing import RaceSettings, early_stop
from tune_app.stopping.rule import PausingRule, RuleSettings, Title, Verdict

_ALL = 10**9
"""Seeds: as many as the sweep has."""


@dataclass(frozen=True, kw_only=True)
class PairedRaceSettings(RuleSettings):
    """Settings of the race. Raises ValueError for invalid ones."""

    NAME: ClassVar[str] = "race"
    TITLE: ClassVar[Title] = Title(short="race", by="the race", verb="paused")

    alpha: float = 0.05
    """Probability, at most, that a design ever leaves for one that is no better."""
    smallest_difference: float = 0.005
    """Bits per byte that matter: the race ends once those that are left are within it."""
    first_rung: float = 0.5
    """Share of a trial's tokens from which on a cell may be paused by measured drift."""
    rungs: int = 2
    """Evenly spaced from the first rung to the end; 0: no cell is paused on its way."""
    budget: int = 0
    """Baseline tokens of all cells together, after which no block is opened; 0: no limit."""
    sigma: float = 0.0
    """Bits per byte by which single seeds are known to deviate, before the sweep; 0: from the
    recorded noise of such sweeps, if there is any, else only from the race itself."""
    degrees_of_freedom: int = 0
    """How well sigma is known."""

    def __post_init__(self) -> None:
        RaceSettings(alpha=self.alpha, smallest_difference=self.smallest_difference)
        if not 0 < self.first_rung < 1:
            raise ValueError(
                f"first_rung of the race is {self.first_rung}; it must be between 0 and 1, for "
                "example 0.5"
            )
        for name in ("rungs", "budget", "degrees_of_freedom"):
            if (value := getattr(self, name)) < 0 or value != int(value):
                raise ValueError(f"{name} of the race is {value}; it must be a count from 0 on")
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise ValueError(f"sigma of the race is {self.sigma}; it must be 0 or more")
        if bool(self.sigma) != bool(self.degrees_of_freedom):
            raise ValueError(
                f"sigma of the race is {self.sigma} and degrees_of_freedom "
                f"{self.degrees_of_freedom}; give both, as 0.007 of 20 degrees of freedom, or none"
            )

    @property
    def pilot(self) -> Pilot | None:
        """The noise of a difference that is known before the sweep."""
        if not self.sigma:
            return None
        return Pilot.of_scores(self.sigma, int(self.degrees_of_freedom))

    @property
    def bounds(self) -> RaceSettings:
        return RaceSettings(
            alpha=self.alpha, smallest_difference=self.smallest_difference, most_seeds=_ALL
        )

    def build(self, *, tokens: int) -> PairedRace:
        return PairedRace(self, milestones=self.milestones(tokens))

    def describe(self, tokens: int) -> str:
        noise = (
            f"σ = {self.sigma:g} bpb is known from {self.degrees_of_freedom:g} degrees of freedom"
            if self.sigma
            else "the seeds' noise is measured on the way"
        )
        return (
            f"race, seed by seed until one design is left (α = {self.alpha:g}) or the rest differ "
            f"by less than {self.smallest_difference:g} bpb; {noise}"
        )

    def milestones(self, tokens: int) -> tuple[int, ...]:
        step = (1 - self.first_rung) / max(1, self.rungs)
        shares = [self.first_rung + step * at for at in range(int(self.rungs))]
        found = {max(1, round(share * tokens)) for share in shares}
        return tuple(sorted(one for one in found if one < tokens))


class PairedRace(PausingRule):
    """The race of one sweep.

    Args:
        settings: of the race.
        milestones: baseline tokens of the rungs, ascending.
    """

    def __init__(self, settings: PairedRaceSettings, *, milestones: tuple[int, ...]) -> None:
        self._settings = settings
        self._milestones = milestones
        self._stopped: set[str] = set()
        self._paused: set[str] = set()
        self._told: set[str] = set()
        """Paused cells of which it was said that they do not go on."""

    def standing(self, curves: Curves) -> Standing:
        """Where the race stands."""
        begun = {cell for cell in self._paused if curves.of(cell)}
        return standing(
            curves,
            self._settings.bounds,
            pilot=self._settings.pilot,
            budget=int(self._settings.budget),
            out=self._stopped | begun,
        )

    def holds(self, curves: Curves) -> Iterator[tuple[str, Verdict]]:
        now = self.standing(curves)
        wanted = set(now.wanted)
        for design, cells in now.grid.cells.items():
            for seed, cell in cells.items():
                if cell in wanted or cell in self._stopped or curves.of(cell):
                    continue
                reason = f"seed {seed} follows once the block of seeds before it has been compared"
                if now.seed is None or design not in now.state.left:
                    reason = now.why_not(design)
                yield cell, Verdict(action=Action.PAUSE, reason=reason, evidence={"seed": seed})

    def judge(self, curves: Curves, observation: Observation) -> Verdict | None:
        rung = self._rung(curves, observation)
        if rung is None:
            return None
        now = self.standing(curves)
        cell, at = observation.cell, observation.baseline_tokens
        design = now.grid.design_of.get(cell)
        if design is None or design not in now.state.left or curves.is_baseline(cell):
            return None
        seed = int(curves.cells[cell].values.get("seed", 0))
        leader = _leader(now, seed)
        if leader is None or leader == design:
            return None
        difference = difference_at(curves, now, (design, leader), seed=seed, tokens=at)
        if difference is None:
            return None
        pairs = rung_differences(curves, now, leader, rung)
        stop, why = early_stop(
            difference,
            pairs,
            now.pilot,
            self._settings.bounds,
            looks=len(curves.competing) * len(self._milestones),
        )
        evidence: dict[str, Any] = {
            "milestone": rung,
            "leader": now.grid.labels[leader],
            "difference": difference,
            "pairs": len(pairs),
        }
        return Verdict(
            action=Action.PAUSE if stop else Action.CONTINUE,
            reason=f"rung {rung:,}: {why}",
            evidence=evidence,
        )

    def settle(self, cell: str, action: Action | None) -> None:
        if action is Action.PAUSE:
            (self._told if cell in self._paused else self._paused).add(cell)
            return
        for cells in (self._paused, self._told, self._stopped):
            cells.discard(cell)
        if action is Action.STOP:
            self._stopped.add(cell)

    def promotions(self, curves: Curves) -> Iterator[tuple[str, Verdict]]:
        """The cells of a block that has opened; and of those that wait, which never go on."""
        waiting = [cell for cell in self._paused if not curves.of(cell)]
        if not waiting:
            return
        now = self.standing(curves)
        evidence: dict[str, Any] = {
            "block": now.state.seeds + 1,
            "left": [now.grid.labels[design] for design in now.state.left],
        }
        for cell in now.wanted:
            if cell in waiting:
                reason = f"the block of seed {now.seed} is open: {now.reason}"
                yield cell, Verdict(action=Action.PROMOTE, reason=reason, evidence=evidence)
        for cell in sorted(waiting, key=list(now.grid.design_of).index):
            design = now.grid.design_of[cell]
            over = now.seed is None or design not in (*now.state.left, now.grid.baseline)
            if over and cell not in self._told and cell not in now.wanted:
                yield (
                    cell,
                    Verdict(
                        action=Action.PAUSE,
                        reason=now.why_not(design),
                        evidence={"seed": int(curves.cells[cell].values.get("seed", 0))},
                    ),
                )

    def _rung(self, curves: Curves, observation: Observation) -> int | None:
        """The rung that a cell has just reached; None if it has reached no new one."""
        at = observation.baseline_tokens
        reached = [milestone for milestone in self._milestones if milestone <= at]
        earlier = [one.baseline_tokens for one in curves.of(observation.cell)]
        before = max((tokens for tokens in earlier if tokens < at), default=0)
        return reached[-1] if reached and reached[-1] > before else None


def _leader(now: Standing, seed: int) -> str | None:
    """The design that leads so far: by the blocks before, or in the first block on its seed."""
    if now.state.seeds:
        return now.state.left[0]
    ended = {
        design: score
        for design in now.state.left
        if math.isfinite(score := now.scores[design].get(seed, math.inf))
    }
    return min(ended, key=lambda design: (ended[design], design), default=None)
