"""Which cells of a sweep are to be trained now, and in which order."""

from __future__ import annotations

from tune_app.journal.endings import Ending, EndKind
from tune_app.journal.journal import Journal
from tune_app.journal.records import Action, CellRecord, Status
from tune_app.plan.plan import SweepPlan
from tune_app.stopping.all_rules import StoppingRules
from tune_app.stopping.curves import Curves, is_same_but_seed
from tune_app.stopping.recording_referee import RecordingReferee


def begin(journal: Journal, rules: StoppingRules) -> None:
    """Has those cells wait that the rules want later; lets those paused cells go on that no longer
    wait for any other: a command may have left out the cells that they waited for."""
    RecordingReferee(journal, rules.build(tokens=journal.sweep().tokens)).begin()


def in_order(journal: Journal) -> list[CellRecord]:
    """The cells that are to be trained, the baseline on every seed first, then at its other
    nuisance values: the others are compared with it.

    Then as if the sweep had never been interrupted: cells that were in training, new ones, and
    those that were promoted, in the order of their promotions.
    """
    sweep, cells = journal.sweep(), journal.cells()
    curves = Curves(cells, baseline=sweep.baseline, nuisance=sweep.nuisance)

    promoted = {
        decision.cell: number
        for number, decision in enumerate(journal.decisions(), 1)
        if decision.action is Action.PROMOTE
    }

    def turn(cell: CellRecord) -> tuple[bool, bool, bool, int]:
        return (
            not curves.is_baseline(cell.key),
            curves.baseline_of(cell.key) != cell.key,
            cell.status is not Status.INTERRUPTED,
            promoted.get(cell.key, 0),
        )

    return sorted((cell for cell in cells if not cell.status.ended), key=turn)


def lost_baseline(journal: Journal, plan: SweepPlan) -> Ending | None:
    """Why the sweep cannot continue: its baseline diverged in an earlier run."""
    named = {cell.key for cell in plan.cells}
    baseline = journal.cell(journal.sweep().baseline)
    for cell in journal.cells():
        if (
            cell.status is Status.STOPPED
            and cell.key in named
            and is_same_but_seed(cell.values, baseline.values)
        ):
            return Ending(kind=EndKind.LOST, reason=f"the baseline diverged: {cell.reason}")
    return None
