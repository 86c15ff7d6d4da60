"""Workers that train recorded cells: a simulation of a sweep, event by event, without training."""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tune_app.journal.records import Action
from tune_app.replay.recorded import Curve, Recorded


class Scheduler(ABC):
    """Decides in one simulated sweep; made anew for each."""

    def starts(self, order: Sequence[str]) -> Sequence[str]:
        """The cells that are trained at all, in the order in which they start."""
        return order

    @abstractmethod
    def judge(self, cell: str, at: int) -> Action:
        """What becomes of a cell after its evaluation number `at`, from 0; not asked at the last.

        CONTINUE, STOP or PAUSE.
        """

    def promoted(self) -> Sequence[str]:
        """Paused cells that go on now; asked after each evaluation."""
        return ()

    def rest(self) -> Sequence[str]:
        """Paused cells that go on since nothing else is left to do."""
        return ()

    def evaluations(self, curve: Curve) -> Sequence[int] | None:
        """The evaluations that it judges; None for all."""
        return None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One simulated sweep."""

    regret: float
    """Of the best cell that was trained to the end, in bits per byte."""
    lost: bool
    """Whether the best cell of all was not trained to the end."""
    false_kills: int
    """Cells that were stopped or paused although they end better than the one that leads."""
    kills: int
    """Cells that were not trained to the end."""
    compute: float
    """Tokens trained, as a share of the grid's."""
    seconds: float
    """Until the last worker is done."""
    trace: tuple[tuple[float, float], ...]
    """(compute so far, regret of the cell that leads then: of those trained to their end the best,
    before there is one the best newest score)."""


def simulate(
    scheduler: Scheduler, recorded: Recorded, order: Sequence[str], *, workers: int
) -> Run:
    """A sweep with so many workers, whose cells start in this order."""
    curves = {curve.cell.key: curve for curve in recorded.curves}
    sweep = _Sweep(scheduler, curves, recorded.regrets)
    waiting = deque(scheduler.starts(order))
    at = dict.fromkeys(curves, -1)
    busy: list[tuple[float, int, str]] = []
    now, number = 0.0, 0
    while True:
        while waiting and len(busy) < workers:
            cell = waiting.popleft()
            number += 1
            heapq.heappush(busy, (now + sweep.seconds(cell, at[cell]), number, cell))
        if not busy:
            waiting.extend(scheduler.rest())
            if not waiting:
                break
            continue
        now, _, cell = heapq.heappop(busy)
        at[cell] = sweep.following(cell, at[cell])
        action = sweep.evaluate(cell, at[cell])
        if action is Action.CONTINUE:
            number += 1
            heapq.heappush(busy, (now + sweep.seconds(cell, at[cell]), number, cell))
        waiting.extend(scheduler.promoted())
    return sweep.run(at, seconds=now)


class _Sweep:
    def __init__(
        self, scheduler: Scheduler, curves: Mapping[str, Curve], regrets: Mapping[str, float]
    ) -> None:
        self._scheduler, self._curves, self._regrets = scheduler, curves, regrets
        self._grid = sum(curve.points[-1].tokens for curve in curves.values())
        self._tokens: dict[str, int] = {}
        self._scores: dict[str, float] = {}
        self._spent = 0
        self._least = math.inf
        self._trace: list[tuple[float, float]] = []
        self._stops = {
            key: sorted({*wanted, len(curve.points) - 1})
            for key, curve in curves.items()
            if (wanted := scheduler.evaluations(curve)) is not None
        }

    def following(self, cell: str, at: int) -> int:
        """The next evaluation at which anything may happen."""
        if cell not in self._stops:
            return at + 1
        return next(stop for stop in self._stops[cell] if stop > at)

    def seconds(self, cell: str, at: int) -> float:
        """From one such evaluation to the next."""
        points = self._curves[cell].points
        begun = points[at].seconds if at >= 0 else 0.0
        return max(0.0, points[self.following(cell, at)].seconds - begun)

    def evaluate(self, cell: str, at: int) -> Action:
        point = self._curves[cell].points[at]
        self._spent += point.tokens - self._tokens.get(cell, 0)
        self._tokens[cell] = point.tokens
        self._scores[cell] = point.score
        ended = at == len(self._curves[cell].points) - 1
        if ended:
            self._least = min(self._least, self._regrets[cell])
        regret = self._least
        if math.isinf(regret):
            regret = self._regrets[min(self._scores, key=self._scores.__getitem__)]
        self._trace.append((self._spent / self._grid, regret))
        if ended:
            return Action.FINISH
        return self._scheduler.judge(cell, at)

    def run(self, at: Mapping[str, int], *, seconds: float) -> Run:
        done = [key for key, curve in self._curves.items() if at[key] == len(curve.points) - 1]
        regret = min((self._regrets[key] for key in done), default=max(self._regrets.values()))
        ended = [key for key in self._curves if key not in done]
        return Run(
            regret=regret,
            lost=all(self._regrets[key] > 0 for key in done),
            false_kills=sum(self._regrets[key] < regret for key in ended),
            kills=len(ended),
            compute=self._spent / self._grid,
            seconds=seconds,
            trace=tuple(self._trace),
        )
