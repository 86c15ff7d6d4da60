"""Which sweep a folder holds: its content decides, not how its corpus or its folder is called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune_app.sweeps import new_journal
from tune_app.journal.journal import Journal
from tune_app.plan.cell import Cell
from tune_app.plan.plan import with_corpus_named
from tune_app.sweep.folder import as_recorded, refuse_another


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return new_journal(tmp_path / "journal.sqlite3")


def test_a_corpus_by_another_path_is_the_same(journal: Journal) -> None:
    cells = with_corpus_named(journal.cells(), "/elsewhere/text.txt")
    assert {cell.key for cell in cells}.isdisjoint(cell.key for cell in journal.cells())
    wanted = replace(journal.sweep(), corpus="/elsewhere/text.txt", baseline=cells[0].key)
    record, planned = as_recorded(journal, wanted, cells)
    refuse_another(journal, record, planned)
    assert [cell.key for cell in planned] == [cell.key for cell in journal.cells()]


def test_another_corpus_is_refused_by_its_content(journal: Journal) -> None:
    cells = with_corpus_named(journal.cells(), "other.txt")
    wanted = replace(
        journal.sweep(), corpus="other.txt", corpus_sha256="f" * 64, baseline=cells[0].key
    )
    record, planned = as_recorded(journal, wanted, cells)
    with pytest.raises(ValueError, match=r'corpus is "stdlib" there, "other.txt" here'):
        refuse_another(journal, record, planned)


def test_a_renamed_folder_holds_the_same_sweep(journal: Journal) -> None:
    refuse_another(journal, replace(journal.sweep(), name="renamed"), journal.cells())


def test_other_settings_are_another_sweep(journal: Journal) -> None:
    with pytest.raises(ValueError, match="tokens is 1000 there, 2000 here"):
        refuse_another(journal, replace(journal.sweep(), tokens=2_000), journal.cells())


def test_a_setting_of_all_cells_is_named_and_not_the_key_that_it_changes(journal: Journal) -> None:
    cells = []
    for cell in journal.cells():
        values = {**cell.values, "weight_decay": 0.2}
        cells.append(replace(cell, key=Cell.from_values(values).key, values=values))
    wanted = replace(journal.sweep(), baseline=cells[0].key)
    with pytest.raises(ValueError, match=r"\(weight_decay is 0.1 there, 0.2 here\)"):
        refuse_another(journal, wanted, cells)
