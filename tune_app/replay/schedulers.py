"""What a replay compares: our schedulers with their settings, and those they are measured against.

A new one is a class below and an entry in CONTESTANTS.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data.suggestions import did_you_mean
from tune_app.journal.records import Action, Observation
from tune_app.replay.optuna_pruners import OptunaPruner, pruners
from tune_app.replay.recorded import Curve, Recorded
from tune_app.replay.workers import Scheduler
from tune_app.stopping.all_rules import SCHEDULERS, scheduler_from_record
from tune_app.stopping.curves import Curves
from tune_app.stopping.promotion import Ladder
from tune_app.stopping.referee import Referee
from tune_app.stopping.rule import RuleSettings


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A scheduler of a replay, with its settings."""

    name: str
    """As it was asked for: `asha:reduction_factor=3`."""
    build: Callable[[Recorded, random.Random], Scheduler]
    """Makes it for one sweep, from curves and a source of chance."""
    slow: bool = False
    """Whether an order takes so long that fewer are replayed."""


class _Everything(Scheduler):
    """No scheduler: every cell is trained to its end."""

    def judge(self, cell: str, at: int) -> Action:
        return Action.CONTINUE

    def evaluations(self, curve: Curve) -> Sequence[int]:
        return ()


class _Some(_Everything):
    """Trains these cells to their end, and no other."""

    def __init__(self, cells: Sequence[str]) -> None:
        self._cells = set(cells)

    def starts(self, order: Sequence[str]) -> Sequence[str]:
        return [cell for cell in order if cell in self._cells]


class _OfSweeps(Scheduler):
    """A scheduler of sweeps, through the referee that a live sweep asks."""

    def __init__(self, settings: RuleSettings, recorded: Recorded, referee: Referee) -> None:
        self._referee = referee
        self._observations = _observations(recorded)
        self._milestones = settings.milestones(recorded.tokens)

    def judge(self, cell: str, at: int) -> Action:
        decision = self._referee.feed(self._observations[cell][at])
        return Action.CONTINUE if decision is None else decision.action

    def score(self, cell: str, at: int) -> float:
        return self._observations[cell][at].bits_per_byte

    def promoted(self) -> Sequence[str]:
        return [decision.cell for decision in self._referee.promotions()]

    def evaluations(self, curve: Curve) -> Sequence[int]:
        return [
            next(at for at, point in enumerate(curve.points) if point.tokens >= milestone)
            for milestone in self._milestones
            if milestone <= curve.points[-1].tokens
        ]


class _Pasha(Scheduler):
    """PASHA: asks for more rungs only while the ranking still changes.

    Source: Bohdal et al., 2023, "PASHA: Efficient HPO and NAS with Progressive Resource
    Allocation", with cells that are promoted as ASHA does here. Once the two highest rungs rank
    their cells alike, scores within `epsilon` counting as equal, none goes further, and the best
    one is trained to its end.
    """

    def __init__(
        self, recorded: Recorded, *, epsilon: float, reduction_factor: int, grace_fraction: float
    ) -> None:
        settings = SCHEDULERS["asha"].from_record(
            {"reduction_factor": reduction_factor, "grace_fraction": grace_fraction}
        )
        rungs = settings.milestones(recorded.tokens)
        ladder = Ladder(rungs, reduction_factor=reduction_factor)
        self._inner = _OfSweeps(settings, recorded, Referee({"asha": ladder}, _fresh(recorded)))
        self._rungs = rungs
        self._epsilon = epsilon
        self._open = min(2, len(self._rungs))
        self._at: dict[str, int] = {}
        self._scores: list[dict[str, float]] = [{} for _ in self._rungs]
        self._held: list[str] = []

    def evaluations(self, curve: Curve) -> Sequence[int]:
        return self._inner.evaluations(curve)

    def judge(self, cell: str, at: int) -> Action:
        rung = self._at.get(cell, -1) + 1
        self._at[cell] = rung
        self._scores[rung][cell] = self._inner.score(cell, at)
        action = self._inner.judge(cell, at)
        while self._open <= len(self._rungs) and self._disagree():
            self._open += 1
        if action is Action.CONTINUE and not self._may_pass(cell):
            self._held.append(cell)
            return Action.PAUSE
        return action

    def promoted(self) -> Sequence[str]:
        going = [*self._held, *self._inner.promoted()]
        self._held = [cell for cell in going if not self._may_pass(cell)]
        return [cell for cell in going if cell not in self._held]

    def rest(self) -> Sequence[str]:
        if not self._held:
            return ()
        highest = next(scores for scores in reversed(self._scores) if scores)
        best = min(highest, key=highest.__getitem__)
        going = [best] if best in self._held else []
        self._held, self._open = [], len(self._rungs) + 1
        return going

    def _may_pass(self, cell: str) -> bool:
        return self._at[cell] + 1 < self._open

    def _disagree(self) -> bool:
        """Whether the two highest rungs rank the cells of the highest one differently."""
        low, high = self._scores[self._open - 2 : self._open]
        now, before = (sorted(high, key=scores.__getitem__) for scores in (high, low))
        return any(
            abs(low[one] - low[other]) > self._epsilon
            for one, other in zip(now, before, strict=True)
        )


def _observations(recorded: Recorded) -> dict[str, tuple[Observation, ...]]:
    return {curve.cell.key: curve.observations() for curve in recorded.curves}


def _fresh(recorded: Recorded) -> Curves:
    return Curves(
        [curve.cell for curve in recorded.curves],
        baseline=recorded.baseline,
        nuisance=recorded.nuisance,
    )


def _ours(name: str) -> Callable[[Recorded, random.Random, Mapping[str, Any]], Scheduler]:
    def build(recorded: Recorded, chance: random.Random, given: Mapping[str, Any]) -> Scheduler:
        settings = scheduler_from_record({"name": name, **given})
        assert settings is not None
        rule = settings.build(tokens=recorded.tokens)
        assert rule is not None
        return _OfSweeps(settings, recorded, Referee({name: rule}, _fresh(recorded)))

    return build


def _pasha(recorded: Recorded, chance: random.Random, given: Mapping[str, Any]) -> Scheduler:
    known = {"epsilon": 0.01, "reduction_factor": 2, "grace_fraction": 0.25}
    _refuse_unknown(given, known, of="pasha")
    return _Pasha(recorded, **{**known, **given})


def _random(recorded: Recorded, chance: random.Random, given: Mapping[str, Any]) -> Scheduler:
    _refuse_unknown(given, {"cells": 0}, of="random")
    keys = [curve.cell.key for curve in recorded.curves]
    cells = given.get("cells", max(1, len(keys) // 2))
    if not isinstance(cells, int) or not 1 <= cells <= len(keys):
        raise ValueError(f"cells of random is {cells!r}; it must be between 1 and {len(keys)}")
    return _Some(chance.sample(keys, cells))


def _none(recorded: Recorded, chance: random.Random, given: Mapping[str, Any]) -> Scheduler:
    _refuse_unknown(given, {}, of="none")
    return _Everything()


def _oracle(recorded: Recorded, chance: random.Random, given: Mapping[str, Any]) -> Scheduler:
    _refuse_unknown(given, {}, of="oracle")
    return _Some([min(recorded.curves, key=lambda curve: curve.final).cell.key])


def _pruner(name: str) -> Callable[[Recorded, random.Random, Mapping[str, Any]], Scheduler]:
    def build(recorded: Recorded, chance: random.Random, given: Mapping[str, Any]) -> Scheduler:
        return OptunaPruner(name, recorded, given, chance)

    return build


def _refuse_unknown(given: Mapping[str, Any], known: Mapping[str, Any], *, of: str) -> None:
    for name in given:
        if name not in known:
            expected = ", ".join(known) or "none"
            raise ValueError(f"unknown setting {name!r} of {of}; expected one of {expected}")


CONTESTANTS: Mapping[str, Callable[[Recorded, random.Random, Mapping[str, Any]], Scheduler]] = {
    "none": _none,
    **{name: _ours(name) for name in SCHEDULERS if name != "race"},
    "pasha": _pasha,
    "random": _random,
    **{name: _pruner(name) for name in pruners()},
    "oracle": _oracle,
}


def contestant(text: str) -> Contestant:
    """A scheduler by name and settings: `asha`, `asha:reduction_factor=3,grace_fraction=0.5`.

    Raises ValueError for an unknown name, or a setting without a value.
    """
    name, _, settings = text.partition(":")
    if name == "race":
        raise ValueError(
            "a race compares designs over seeds, which a replay of single cells cannot show; its "
            "error rates and its compute are simulated by python -m benchmarks.races"
        )
    if name not in CONTESTANTS:
        hint = did_you_mean(name, list(CONTESTANTS))
        raise ValueError(
            f"unknown scheduler {name!r}; {hint}expected one of {', '.join(CONTESTANTS)}"
        )
    given = {}
    for setting in filter(None, settings.split(",")):
        key, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"{text}: the setting {key!r} has no value, as in {key}=2")
        given[key] = _value(value)
    return Contestant(
        name=text,
        build=lambda recorded, chance: CONTESTANTS[name](recorded, chance, given),
        slow=name in pruners(),
    )


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
