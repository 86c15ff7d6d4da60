"""The results of a sweep from Python are those that it writes, as DataFrames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.tune_app.journals import make_journal
from tune_app import Sweep, list_sweeps, open_sweep
from tune_app.results.tables import cell_rows, curve_rows, write_csv, write_parquet
from tune_app.sweep.trained_cell import called


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    (runs / "demo").mkdir()
    make_journal(runs / "demo" / "journal.sqlite3").close()
    return runs / "demo"


@pytest.fixture(scope="module")
def sweep(folder: Path) -> Sweep:
    return open_sweep("demo", results=folder.parent)


def test_tables_have_the_rows_and_the_types_of_the_written_ones(
    sweep: Sweep, tmp_path: Path
) -> None:
    for frame, rows in (
        (sweep.cells, cell_rows(sweep.results)),
        (sweep.curves, curve_rows(sweep.results)),
    ):
        write_parquet(rows, tmp_path / "written")
        written = pd.read_parquet(tmp_path / "written", dtype_backend="numpy_nullable")
        assert list(frame) == list(written)
        pd.testing.assert_frame_equal(frame.astype(written.dtypes), written)
    assert sweep.cells["solved_d_model"].dtype == "Int64", "infeasible cells have none"
    assert len(sweep.decisions) == len(sweep.results.decisions)
    assert set(sweep.failures["kind"]) == {"code", "numbers"}
    assert list(sweep.columns["column"])[: len(list(sweep.cells))] == list(sweep.cells)


def test_the_leader_is_the_ranking_s_first(sweep: Sweep) -> None:
    (best,) = sweep.cells[sweep.cells["rank"] == 1]["label"]
    assert sweep.leader == best
    assert (sweep.noise, sweep.not_told_apart) == (None, None), "one seed, and none is recorded"
    assert sweep.verdict.startswith(f"{best} leads by ")


def test_it_shows_its_leader_and_a_short_table(sweep: Sweep) -> None:
    text = repr(sweep)
    assert "12 cells: 4 finished, 6 stopped, 1 failed, 1 infeasible" in text
    assert f"leader on one seed, not a verdict: {sweep.leader}" in text
    assert "gap" in text and "<NA>" not in text
    assert "the seeds' noise is unknown; train with --seeds 0,1,2" in text
    assert len(text.splitlines()) < 23 and max(map(len, text.splitlines())) <= 120
    html = sweep._repr_html_()
    assert html.count("<tr") == 13 and "<script" not in html


def test_a_sweep_that_is_not_there_or_has_no_leader_is_told_in_a_sentence(
    folder: Path, sweep: Sweep, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"there is no sweep 'nosuch' in .*; it has demo"):
        open_sweep("nosuch", results=folder.parent)
    with pytest.raises(ValueError, match=r"no cell '35%'; expected one of 35% × 2\.66"):
        sweep.load("35%")
    with pytest.raises(ValueError, match="has no checkpoint; it is infeasible"):
        sweep.load("45% × 4")
    with pytest.raises(ValueError, match=r"no cell '2\.66'; expected"):
        sweep.load(2.66)  # as pandas.read_csv reads a label that is a number
    (tmp_path / "new").mkdir()
    fates = {("tied",): "pending"}
    axes = {"embedding": ("tied",)}
    make_journal(tmp_path / "new" / "journal.sqlite3", axes=axes, fates=fates).close()
    new = open_sweep("new", results=tmp_path)
    assert new.leader is None and new.curves.empty and "1 pending" in repr(new)
    with pytest.raises(ValueError, match=r"no cell has finished"):
        new.load_leader()


def test_labels_that_look_like_numbers_survive_a_table(tmp_path: Path) -> None:
    (tmp_path / "numbers").mkdir()
    axes = {"glu_expansion": (2.66, 2.0), "vocab_size": (4096, 16_000)}
    make_journal(tmp_path / "numbers" / "journal.sqlite3", axes=axes, fates={}).close()
    cells = open_sweep("numbers", results=tmp_path).results.cells
    labels = ("2.66", "2", "16,000", "0.0032")
    cells = [
        replace(one, cell=replace(one.cell, label=label))
        for one, label in zip(cells, labels, strict=True)
    ]
    for name, place in (
        *((2.66, 0), (np.float64(2.66), 0), ("2.66", 0), (2, 1), (2.0, 1), ("2.0", 1)),
        *((np.int64(2), 1), (16_000, 2), ("16,000", 2), (0.0032, 3), (cells[3].cell.key, 3)),
    ):
        assert called(name, cells) is cells[place], name
    for name in (2.67, True, float("nan"), "", "two", None):
        assert called(name, cells) is None, name


def test_one_column_joins_the_tables(sweep: Sweep, tmp_path: Path) -> None:
    write_csv(cell_rows(sweep.results), tmp_path / "results.csv")
    cells = pd.read_csv(tmp_path / "results.csv")
    assert cells["cell"].is_unique
    for other in (sweep.curves, sweep.decisions, sweep.failures):
        assert len(other.merge(cells, on="cell", validate="many_to_one")) == len(other) > 0


def test_the_sweeps_of_a_folder_are_listed(folder: Path, sweep: Sweep, tmp_path: Path) -> None:
    (row,) = list_sweeps(results=folder.parent).to_dict("records")
    assert (row["name"], row["cells"], row["leader"]) == ("demo", 11, sweep.leader)
    for place in (tmp_path, tmp_path / "nowhere"):
        none = list_sweeps(results=place)
        assert none.empty and "leader" in none


def test_opening_writes_nothing(folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    open_sweep("demo", results=str(folder.parent))
    assert sorted(path.name for path in folder.iterdir()) == before
