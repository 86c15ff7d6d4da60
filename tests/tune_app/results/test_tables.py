"""What a program reads of a sweep is what the journal has."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.tune_app.journals import make_journal
from tests.tune_app.observations import changed
from tune_app.journal.metrics import CENTRAL, METRICS
from tune_app.results.summary import SweepResults, summarise
from tune_app.results.tables import (
    cell_rows,
    curve_rows,
    decision_rows,
    failure_rows,
    write_csv,
    write_json_lines,
    write_parquet,
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> SweepResults:
    with make_journal(tmp_path_factory.mktemp("tables") / "journal.sqlite3") as journal:
        return summarise(journal)


@pytest.fixture(scope="module")
def rows(results: SweepResults) -> dict[str, dict[str, Any]]:
    return {row["label"]: row for row in cell_rows(results)}


def test_a_row_a_cell_all_with_the_same_columns(rows: dict[str, dict[str, Any]]) -> None:
    assert len(rows) == 12
    assert len({tuple(row) for row in rows.values()}) == 1


def test_values_of_the_sample_and_of_the_full_split_have_columns_of_their_own(
    rows: dict[str, dict[str, Any]],
) -> None:
    finished, stopped = rows["35% × 2.66"], rows["25% × 3"]
    assert finished["full_bits_per_byte"] != finished["sample_bits_per_byte"]
    assert stopped["full_bits_per_byte"] is None and stopped["rank"] is None
    assert stopped["sample_bits_per_byte"] > 0
    assert (stopped["status"], stopped["rule"]) == ("stopped", "asha-stop")
    assert "not in the better half" in stopped["reason"]
    assert stopped["tokens_trained"] == 37_500


def test_ranks_count_finished_cells_alone(rows: dict[str, dict[str, Any]]) -> None:
    ranks = [row["rank"] for row in rows.values() if row["status"] == "finished"]
    assert sorted(ranks) == [1, 2, 3, 4]
    assert all(row["rank"] is None for row in rows.values() if row["status"] != "finished")


def test_sizes_parts_and_costs_belong_together(rows: dict[str, dict[str, Any]]) -> None:
    row = rows["35% × 3"]
    parts = ("embedding", "lm_head", "attention", "feed_forward", "norms")
    assert sum(row[f"parameters_{part}"] for part in parts) == row["parameters_total"]
    assert row["parameters_embedding"] == row["vocab_size"] * row["solved_d_model"]
    assert row["solved_d_attention"] == row["solved_n_heads"] * row["solved_head_dim"]
    phases = ("start", "data", "compile", "train", "evaluate")
    assert sum(row[f"seconds_{phase}"] for phase in phases) == row["seconds_total"]
    assert row["tokens_per_second"] == pytest.approx(row["tokens_trained"] / row["seconds_train"])
    assert row["training_flops"] == pytest.approx(6.1 * row["parameters_total"] * 150_000)


def test_cells_without_sizes_or_results_have_empty_fields(
    results: SweepResults, rows: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    infeasible = rows["45% × 4"]
    assert infeasible["solved_d_model"] is None and infeasible["tokens_trained"] == 0
    write_csv(cell_rows(results), tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        read = {row["label"]: row for row in csv.DictReader(file)}
    assert read["45% × 4"]["solved_d_model"] == ""
    assert "lower the share" in read["45% × 4"]["reason"]
    assert read["45% × 2"]["sample_bits_per_byte"] == "nan", "diverged, not unknown"
    best = rows["35% × 2.66"]["full_bits_per_byte"]
    assert float(read["35% × 2.66"]["full_bits_per_byte"]) == best, "to the last bit"


def test_parquet_has_the_same_rows(results: SweepResults, tmp_path: Path) -> None:
    rows = cell_rows(results)
    write_parquet(rows, tmp_path / "results.parquet")
    read = pq.read_table(tmp_path / "results.parquet").to_pylist()
    for row, other in zip(rows, read, strict=True):
        for name, value in row.items():
            same = value == other[name] or (math.isnan(value) and math.isnan(other[name]))
            assert same, (row["label"], name)


def test_a_column_of_mixed_kinds_becomes_text(tmp_path: Path) -> None:
    write_parquet([{"a": 1, "b": 2}, {"a": "x", "b": 0.5}, {"a": None, "b": None}], tmp_path / "t")
    read = pq.read_table(tmp_path / "t").to_pydict()
    assert read == {"a": ["1", "x", None], "b": [2.0, 0.5, None]}


def test_curves_have_a_row_an_evaluation(results: SweepResults, tmp_path: Path) -> None:
    rows = curve_rows(results)
    assert len(rows) == sum(len(cell.curve) for cell in results.cells)
    write_parquet(rows, tmp_path / "curves.parquet")
    table = pq.read_table(tmp_path / "curves.parquet")
    assert {"label", "tokens", "baseline_tokens", "seconds_train"} <= set(table.column_names)
    # Made-up cells have no process whose memory could be measured, and are not trained in fp16.
    known = [n for n in CENTRAL if n not in ("peak_memory", "loss_scale", "skipped_steps")]
    assert [name for name in table.column_names if name in CENTRAL] == known
    assert table.num_rows == len(rows)
    norms = [point.metrics["gradient_norm"] for cell in results.cells for point in cell.curve]
    assert table["gradient_norm"].to_pylist() == norms, "to the last bit"


def test_a_metric_that_only_some_cells_report_is_null_at_the_others(
    results: SweepResults, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(METRICS, "router_load/*", METRICS["gradient_norm"])  # type: ignore[index]
    first, *others = results.cells
    point = changed(first.curve[0], **{"router_load/1": 0.25})
    routed = replace(first, curve=(point, *first.curve[1:]))
    write_parquet(curve_rows(replace(results, cells=(routed, *others))), tmp_path / "curves")
    column = pq.read_table(tmp_path / "curves")["router_load/1"].to_pylist()
    assert column[0] == 0.25 and set(column[1:]) == {None}


def test_the_last_value_of_a_metric_stands_beside_a_setting_of_its_name(
    rows: dict[str, dict[str, Any]],
) -> None:
    row = rows["35% × 2.66"]
    assert row["learning_rate"] == 0.004
    assert row["last_learning_rate"] == pytest.approx(0.0)
    assert row["last_gradient_norm"] == 0.5
    assert rows["45% × 4"]["last_gradient_norm"] is None, "infeasible"


def test_text_from_outside_is_no_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    row = {"corpus": "=1+1.jsonl", "label": "-2", "loss": -0.5, "reason": "a=b", "rank": None}
    write_csv([row], tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(newline="") as file:
        (read,) = csv.DictReader(file)
    assert list(read.values()) == ["'=1+1.jsonl", "'-2", "-0.5", "a=b", ""]


def test_tables_of_a_sweep_that_has_not_begun(tmp_path: Path) -> None:
    write_parquet([], tmp_path / "curves.parquet")
    assert pq.read_table(tmp_path / "curves.parquet").num_rows == 0
    write_csv([], tmp_path / "results.csv")
    assert (tmp_path / "results.csv").read_text() == ""


def test_failures_attempts_and_resumes_are_there(tmp_path: Path) -> None:
    fates = {("tied",): "lost 3", ("untied",): "failed 2"}
    axes = {"embedding": ("tied", "untied")}
    with make_journal(tmp_path / "journal.sqlite3", axes=axes, fates=fates) as journal:
        results = summarise(journal)
    lost, failed = cell_rows(results)
    names = ("status", "attempts", "resumes", "failures", "failed_by")
    assert [lost[name] for name in names] == ["finished", 2, 1, 1, None]
    assert [failed[name] for name in names] == ["failed", 1, 0, 1, "code"]
    write_json_lines(failure_rows(results), tmp_path / "failures.jsonl")
    lines = (tmp_path / "failures.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    by_label = {record.pop("label"): record for record in records}
    assert by_label["tied"].pop("at") > 0
    assert by_label["tied"] == {
        "cell": lost["cell"],
        "kind": "host",
        "reason": "the worker's process is gone",
        "traceback": "",
        "ended": False,
        "host": "worker-1",
        "tokens": 55_750,
        "cause": "the node died",
        "remedy": "retried",
    }
    assert by_label["untied"]["traceback"].startswith("Traceback")


def test_decisions_are_strict_json_in_order(results: SweepResults, tmp_path: Path) -> None:
    write_json_lines(decision_rows(results), tmp_path / "decisions.jsonl")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    lines = (tmp_path / "decisions.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [record["at"] for record in records] == sorted(record["at"] for record in records)
    diverged = next(record for record in records if record["rule"] == "diverged")
    assert diverged["evidence"] == {"value": "nan"}
    names = ("cell", "label", "tokens", "action", "rule", "reason", "evidence", "amendment", "at")
    assert set(names) == set(diverged)
