"""The list of sweeps: their state, their leader, and those that cannot be read."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.tune_app.journals import make_journal
from tests.tune_app.sweeps import new_journal
from tune_app.journal.records import Status
from tune_app.sweep.folder import JOURNAL
from tune_app.sweep.listing import list_sweeps, state_of
from tune_app.terminal.sweeps import sweeps_table


def test_sweeps_are_listed_and_broken_ones_are_named(tmp_path: Path) -> None:
    axes = {"glu_expansion": [2.0, 2.66]}
    make_journal(tmp_path / "done" / JOURNAL, axes=axes, fates={(2.0,): "asha 2"}).close()
    new_journal(tmp_path / "new" / JOURNAL).close()
    for name, content in (("empty", b""), ("rubbish", b"not a database at all" * 100)):
        (tmp_path / name).mkdir()
        (tmp_path / name / JOURNAL).write_bytes(content)
    (tmp_path / "of-something-else").mkdir()
    rows = {row.folder.name: row for row in list_sweeps(tmp_path)}
    assert set(rows) == {"done", "new", "empty", "rubbish"}
    assert rows["new"].state == "not started"
    assert rows["done"].leader
    assert (rows["done"].state, rows["done"].done, rows["done"].cells) == ("done", 2, 2)
    assert rows["empty"].problem and rows["rubbish"].problem
    for width in (80, 140):
        screen = io.StringIO()
        Console(file=screen, width=width).print(sweeps_table(list(rows.values())))
        lines = screen.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        assert all(any(line.startswith(name) for line in lines) for name in rows)


def test_a_folder_without_sweeps_or_that_is_missing_has_none(tmp_path: Path) -> None:
    assert list_sweeps(tmp_path) == list_sweeps(tmp_path / "nowhere") == []
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        list_sweeps(tmp_path / "file")


@pytest.mark.parametrize(
    ("statuses", "running", "state"),
    [
        ({Status.RUNNING: 1, Status.PENDING: 3}, True, "running"),
        ({Status.INTERRUPTED: 1, Status.PENDING: 3}, False, "unfinished"),
        ({Status.FINISHED: 1, Status.PENDING: 3}, False, "unfinished"),
        ({Status.PENDING: 3, Status.INFEASIBLE: 1}, False, "not started"),
        ({Status.FINISHED: 2, Status.STOPPED: 1, Status.INFEASIBLE: 1}, False, "done"),
        ({Status.FINISHED: 2, Status.FAILED: 1}, False, "failed"),
        ({Status.FAILED: 1, Status.PENDING: 1}, False, "unfinished"),
    ],
)
def test_the_state_follows_from_the_cells(
    statuses: dict[Status, int], running: bool, state: str
) -> None:
    assert state_of(statuses, running=running) == state
