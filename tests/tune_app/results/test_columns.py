"""The data dictionary says what each column of the tables is."""

from __future__ import annotations

from pathlib import Path

from tests.tune_app.journals import make_journal
from tune_app.journal.metrics import METRICS
from tune_app.plan.cell import Cell
from tune_app.plan.meanings import meanings
from tune_app.results.columns import dictionary, of_curves, of_results
from tune_app.results.design_table import design_rows
from tune_app.results.equal_budgets import view_rows
from tune_app.results.summary import summarise
from tune_app.results.tables import cell_rows, curve_rows, names_of


def test_every_column_of_the_tables_has_a_line(tmp_path: Path) -> None:
    with make_journal(tmp_path / "journal.sqlite3") as journal:
        results = summarise(journal)
    cells, curves = names_of(cell_rows(results)), names_of(curve_rows(results))
    designs = names_of(design_rows(results))
    views = names_of(view_rows(results))
    lines = dictionary(cells, designs, curves, views)
    assert [(line["table"], line["column"]) for line in lines] == [
        *(("results", name) for name in cells),
        *(("designs", name) for name in designs),
        *(("curves", name) for name in curves),
        *(("equal_budgets", name) for name in views),
    ]
    assert [line["column"] for line in lines if not line["meaning"]] == []


def test_every_setting_of_a_cell_is_explained() -> None:
    values = Cell.from_values({}).values()
    assert {name for name in values if not meanings().get(name)} == {"baseline"}
    assert "embedding and lm_head over all" in of_results("embedding_ratio").meaning
    assert of_results("solved_context").unit == "tokens"


def test_every_metric_is_explained_with_its_unit() -> None:
    for name, metric in METRICS.items():
        assert of_curves(name).meaning == metric.title
        assert of_results(f"last_{name}").unit == metric.unit


def test_a_column_of_another_version_has_no_meaning() -> None:
    assert of_results("last_unheard_of").meaning == ""
    assert of_curves("unheard_of").meaning == ""


def test_gaps_are_to_the_baseline_of_the_same_seed(tmp_path: Path) -> None:
    axes = {"glu_expansion": (2.66, 4.0)}
    fates = {(4.0,): "asha 4"}
    with make_journal(tmp_path / "j", axes=axes, seeds=(0, 1), fates=fates) as journal:
        results = summarise(journal)
    rows = cell_rows(results)
    of = {(row["glu_expansion"], row["seed"]): row for row in rows}
    assert of[2.66, 0]["gap_bits_per_byte"] == of[2.66, 1]["gap_bits_per_byte"] == 0
    assert of[4.0, 0]["gap_bits_per_byte"] is None, "stopped"
    stopped, baseline = of[4.0, 0], results.curves.of(of[2.66, 0]["cell"])
    level = next(
        point.bits_per_byte
        for point in baseline
        if point.baseline_tokens == stopped["baseline_tokens_trained"]
    )
    assert stopped["sample_gap_bits_per_byte"] == stopped["sample_bits_per_byte"] - level
    finished, other = of[4.0, 1], of[2.66, 1]
    gap = finished["full_bits_per_byte"] - other["full_bits_per_byte"]
    assert finished["gap_bits_per_byte"] == gap
    curves = curve_rows(results)
    assert "gap_bits_per_byte" in names_of(curves)
    last = next(row for row in reversed(curves) if row["cell"] == stopped["cell"])
    assert last["gap_bits_per_byte"] == stopped["sample_gap_bits_per_byte"]
