"""Which paused cells go on: the rungs of schedulers that pause and promote. Pure.

A rung of n cells passes its best ⌊n/η⌋, at least one. A cell that has arrived pauses until it is
certain to be one of them: its place, with every cell that may still arrive counted as better, is
among those that pass. So a promotion is never regretted, and who passes depends on the scores
alone. Equal scores are ordered by the cells' keys.

The baseline passes every rung whatever its place, beside those that pass. A cell that has been
stopped, has diverged or has failed is not waited for, and the next one takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tune_app.journal.records import Action, Observation
from tune_app.stopping.curves import Curves
from tune_app.stopping.rule import PausingRule, Verdict


class Ladder(PausingRule):
    """The rungs of a sweep, and the cells on them.

    Args:
        milestones: baseline tokens of the rungs, ascending.
        reduction_factor: η: one in η cells passes a rung.
        wait: whether a rung is decided only once no cell is on its way to it, as in successive
            halving.
    """

    def __init__(
        self, milestones: Sequence[int], *, reduction_factor: int, wait: bool = False
    ) -> None:
        self._milestones = tuple(milestones)
        self._eta = reduction_factor
        self._wait = wait
        self._scores: list[dict[str, float]] = [{} for _ in milestones]
        self._passed: list[set[str]] = [set() for _ in milestones]
        self._left: set[str] = set()

    def judge(self, curves: Curves, observation: Observation) -> Verdict | None:
        cell = observation.cell
        reached = [
            rung
            for rung, milestone in enumerate(self._milestones)
            if milestone <= observation.baseline_tokens
        ]
        if not reached or cell in self._scores[reached[-1]] or cell not in curves.competing:
            return None
        *below, rung = reached
        for lower in below:
            self._passed[lower].add(cell)
        self._left.discard(cell)
        self._scores[rung][cell] = observation.bits_per_byte
        passes = curves.is_baseline(cell) or cell in self._certain(curves, rung)
        return self._verdict(
            Action.CONTINUE if passes else Action.PAUSE,
            curves,
            cell,
            rung,
            immune=curves.is_baseline(cell),
        )

    def settle(self, cell: str, action: Action | None) -> None:
        if action is Action.STOP:
            self._left.add(cell)
            return
        self._left.discard(cell)
        if action is not Action.PAUSE:
            rung = self._rung_of(cell)
            if rung is not None:
                self._passed[rung].add(cell)

    def promotions(self, curves: Curves) -> Iterator[tuple[str, Verdict]]:
        for rung in range(len(self._milestones)):
            for cell in self._certain(curves, rung):
                if cell not in self._passed[rung] and cell not in self._left:
                    yield cell, self._verdict(Action.PROMOTE, curves, cell, rung, immune=False)

    def _rung_of(self, cell: str) -> int | None:
        """The highest rung that a cell has reached."""
        return max((at for at, scores in enumerate(self._scores) if cell in scores), default=None)

    def _places(self, curves: Curves, rung: int) -> int:
        """How many cells pass a rung."""
        cells = len(curves.competing)
        for _ in range(rung + 1):
            cells = max(1, cells // self._eta)
        return cells

    def _ranked(self, rung: int) -> list[str]:
        """The cells that compete at a rung, the best first."""
        scores = self._scores[rung]
        cells = (cell for cell in scores if cell in self._passed[rung] or cell not in self._left)
        return sorted(cells, key=lambda cell: (scores[cell], cell))

    def _to_come(self, curves: Curves, rung: int) -> int:
        """How many cells may still arrive at a rung."""
        if rung == 0:
            return len(curves.competing - self._scores[0].keys() - self._left)
        # Those that are certain to pass may not have been told so yet.
        passing = self._passed[rung - 1].union(self._certain(curves, rung - 1))
        underway = passing - self._scores[rung].keys() - self._left
        if not self._to_come(curves, rung - 1):
            return len(underway)
        chosen = sum(not curves.is_baseline(cell) for cell in passing)
        return len(underway) + max(0, self._places(curves, rung - 1) - chosen)

    def _certain(self, curves: Curves, rung: int) -> list[str]:
        """The cells that pass a rung whatever those score that are still to come, best first."""
        to_come = self._to_come(curves, rung)
        if self._wait and to_come:
            return []
        return self._ranked(rung)[: max(0, self._places(curves, rung) - to_come)]

    def _verdict(
        self, action: Action, curves: Curves, cell: str, rung: int, *, immune: bool
    ) -> Verdict:
        ranked, to_come = self._ranked(rung), self._to_come(curves, rung)
        score, places = self._scores[rung][cell], self._places(curves, rung)
        place = 1 + ranked.index(cell)
        evidence: dict[str, Any] = {
            "milestone": self._milestones[rung],
            "bits_per_byte": score,
            "place": place,
            "arrived": len(ranked),
            "to_come": to_come,
            "places": places,
            "immune": immune,
        }
        coming = f", {to_come} still to come" if to_come else ""
        return Verdict(
            action=action,
            reason=(
                f"rung {self._milestones[rung]:,}: bpb {score:.4f} is place {place} of "
                f"{len(ranked)}{coming}; {_passing(places)}"
            ),
            evidence=evidence,
        )


def _passing(places: int) -> str:
    return "the best one goes on" if places == 1 else f"the best {places} go on"
