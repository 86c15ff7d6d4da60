"""What a worker is told of its cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.tune_app.sweeps import new_journal
from tune_app.dollars.limit import Spending
from tune_app.journal.endings import Ending, EndKind
from tune_app.journal.listener import QuietListener
from tune_app.journal.records import Status
from tune_app.on_ray.halt import Halt
from tune_app.on_ray.tuner import _Dollars, message_of_cell
from tune_app.plan.cell import Cell
from tune_app.sweep.outcome import Outcome


def test_a_worker_is_told_the_sizes_that_the_journal_has(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        for cell in journal.cells():
            message = message_of_cell(cell, journal)
            assert message["solved"] == {"model": cell.config, "baseline": cell.baseline_config}
            assert (message["key"], message["former_key"]) == (cell.key, cell.former_key)
            # A store may hold what an older version trained, whatever became of its journal.
            assert cell.former_key == Cell.from_values(cell.values).former_key


class Spent:
    """A purse whose dollars are spent at the third look."""

    looks = 0

    def look(self) -> tuple[Spending | None, str | None]:
        self.looks += 1
        reason = "$5.00 of --max-dollars 5 is spent" if self.looks > 2 else None
        return Spending(spent=float(self.looks), per_hour=1.0, limit=5.0), reason


def test_a_sweep_whose_dollars_are_spent_is_halted_once_and_can_go_on_later() -> None:
    halt, said = Halt(), []

    class Listener(QuietListener):
        def paid(self, spending: Spending) -> None:
            said.append(f"{spending.spent:g}")

        def ending(self, reason: str) -> None:
            said.append(reason)

    purse: Any = Spent()
    dollars = _Dollars(purse, halt=halt, listener=Listener())
    for step in range(4):
        dollars.on_step_begin(step, [])
    assert halt.stop_all()
    assert halt.ending is not None and halt.ending.kind is EndKind.DOLLARS
    told = "paused: $5.00 of --max-dollars 5 is spent"
    assert said == ["1", "2", "3", told, "4"]
    outcome = Outcome(statuses=(Status.FINISHED, Status.INTERRUPTED), ending=halt.ending)
    assert (outcome.ended_by, outcome.exit_code, outcome.interrupted) == (told, 75, False)
    # What a reason says decides nothing.
    person = Ending(kind=EndKind.INTERRUPTION, reason=told)
    assert Outcome(statuses=outcome.statuses, ending=person).exit_code == 130
    # Cells that had all ended by then leave nothing to go on with.
    assert Outcome(statuses=(Status.FINISHED,), ending=halt.ending).exit_code == 0
