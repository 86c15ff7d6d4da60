"""What a report says of other schedulers: a replay of a sweep, where enough of it can be replayed.

Cells that a rule gave up have no curve to their end. A replay of the others alone would be kind to
rules like the one that chose them, so a few missing cells are all that is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tune_app.journal.records import CellRecord, Observation, Status
from tune_app.replay.orders import Tally, tally
from tune_app.replay.recorded import Recorded, recorded_of
from tune_app.replay.schedulers import CONTESTANTS, contestant

FEWEST = 8
"""Complete curves."""
LEAST_SHARE = 0.8
"""Of the cells that competed, so many must have one."""
WORKERS = 2
_MOST_ORDERS = 200
_MOST_SIMULATED = 1_200
"""Cells times orders, for each scheduler: a second or two for all of them."""
_LEFT_OUT = ("none",)
"""It trains everything, and has no regret."""


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A replay, or why there is none."""

    complete: int
    """Cells that were trained to their end."""
    competed: int
    orders: int = 0
    tallies: tuple[Tally, ...] = ()
    why_not: str = ""
    """Empty if there is one."""


def reported(
    cells: Sequence[CellRecord],
    curves: Mapping[str, Sequence[Observation]],
    *,
    baseline: str,
    nuisance: Sequence[str] = (),
) -> Reported:
    """Replays every scheduler on the cells, if enough of them were trained to their end.

    Args:
        cells: that competed; those that are FINISHED have a complete curve.
        curves: key → observations.
        baseline: key of the cell that no scheduler stops.
        nuisance: the nuisance axes.
    """
    complete = sum(cell.status is Status.FINISHED for cell in cells)
    competed = sum(cell.status not in (Status.INFEASIBLE, Status.LEFT_OUT) for cell in cells)
    if why_not := _why_not(complete, competed):
        return Reported(complete=complete, competed=competed, why_not=why_not)
    recorded: Recorded = recorded_of(cells, curves, baseline=baseline, nuisance=nuisance)
    orders = max(1, min(_MOST_ORDERS, _MOST_SIMULATED // complete))
    return Reported(
        complete=complete,
        competed=competed,
        orders=orders,
        tallies=tuple(
            tally(contestant(name), recorded, orders=orders, workers=WORKERS)
            for name in CONTESTANTS
            if name not in _LEFT_OUT
        ),
    )


def _why_not(complete: int, competed: int) -> str:
    if complete >= FEWEST and complete >= LEAST_SHARE * competed:
        return ""
    if competed < FEWEST:
        return f"there are {competed} cells, and a replay needs at least {FEWEST}"
    return (
        f"{complete} of {competed} cells were trained to their end, and a replay needs at least "
        f"{FEWEST} and {LEAST_SHARE:.0%} of all: those that a rule gave up might have been the "
        "best; --scheduler none, or the audit of a study, trains them"
    )
