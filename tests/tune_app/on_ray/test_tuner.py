"""What a worker is told of its cell."""

from __future__ import annotations

from pathlib import Path

from tests.tune_app.sweeps import new_journal
from tune_app.on_ray.tuner import message_of_cell
from tune_app.plan.cell import Cell


def test_a_worker_is_told_the_sizes_that_the_journal_has(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        for cell in journal.cells():
            message = message_of_cell(cell, journal)
            assert message["solved"] == {"model": cell.config, "baseline": cell.baseline_config}
            assert (message["key"], message["former_key"]) == (cell.key, cell.former_key)
            # A store may hold what an older version trained, whatever became of its journal.
            assert cell.former_key == Cell.from_values(cell.values).former_key
