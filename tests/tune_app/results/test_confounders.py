"""What differs besides the axes, and how far it goes with them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.tune_app.journals import make_journal
from tune_app.results.confounders import (
    PROPERTIES,
    confounder_section,
    confounder_sentences,
    confounders,
)
from tune_app.results.summary import SweepResults, summarise


def results_of(folder: Path, **options: object) -> SweepResults:
    with make_journal(folder / "journal.sqlite3", **options) as journal:  # type: ignore[arg-type]
        return summarise(journal)


def test_a_larger_share_comes_with_a_wider_and_shallower_model(tmp_path: Path) -> None:
    shares = {"embedding_ratio": (0.25, 0.35, 0.45)}
    results = results_of(tmp_path, axes=shares, seeds=(0, 1))
    sizes = [design.cells[0].cell.config for design in results.designs]
    by_width = sorted((size["d_model"], size["n_layers"]) for size in sizes if size)
    found = {one.property.name: one for one in confounders(results)}
    assert set(found) == {
        "depth",
        "width",
        "attention / width",
        "training FLOPs",
        "training seconds",
    }
    depth, width = found["depth"], found["width"]
    assert (depth.lowest, depth.highest) == (by_width[-1][1], by_width[0][1])
    assert [mean for _, mean in depth.along[0].means] == [depth for _, depth in by_width]
    assert depth.along[0].correlation == pytest.approx(-1)
    assert width.along[0].correlation == pytest.approx(1)
    (sentence,) = confounder_sentences(results)
    assert sentence.startswith(
        f"Embedding share 25% → 45% comes with depth {by_width[0][1]} → {by_width[-1][1]} (−1.00), "
        f"width {by_width[0][0]} → {by_width[-1][0]} (+1.00)"
    )
    assert sentence.endswith("(−1.00)."), "seconds last"
    assert "attention" not in sentence, "by less than 5 %"


def test_experts_hold_more_parameters_than_a_token_uses() -> None:
    (held,) = (one for one in PROPERTIES if one.name == "parameters / active ones")

    def of(parameters: dict[str, int] | None) -> float | None:
        cell = SimpleNamespace(cell=SimpleNamespace(parameters=parameters))
        return held.value(SimpleNamespace(cells=[cell]))  # type: ignore[arg-type]

    assert of({"total": 22_000_000, "active": 10_000_000}) == 2.2
    assert of({"total": 10_000_000, "active": 10_000_000}) == 1
    assert of({"total": 10_000_000}) is None, "a journal of before parameters were counted so"
    assert of(None) is None


def test_the_table_has_a_row_for_each_property_and_a_column_for_each_axis(tmp_path: Path) -> None:
    axes = {"embedding_ratio": (0.25, 0.35), "feed_forward": ("swiglu", "reglu")}
    section = confounder_section(results_of(tmp_path, axes=axes))
    assert section is not None
    assert section["axes"] == ["embedding share", "feed-forward"]
    assert section["which"] == "finished cells"
    row = next(row for row in section["rows"] if row["name"] == "depth")
    assert row["along"][0].endswith("(−1.00)")
    assert row["along"][1] == "swiglu: 12, reglu: 12", "no numbers, so no correlation"


def test_before_two_have_finished_all_that_have_sizes_are_compared(tmp_path: Path) -> None:
    axes = {"embedding_ratio": (0.25, 0.35, 0.45), "glu_expansion": (2.66,)}
    fates = {(0.35, 2.66): "running 3", (0.25, 2.66): "pending", (0.45, 2.66): "infeasible"}
    section = confounder_section(results_of(tmp_path, axes=axes, fates=fates))
    assert section is not None
    assert section["which"] == "planned cells"
    assert [row["name"] for row in section["rows"]] == ["depth", "width", "attention / width"]


def test_where_nothing_else_differs_there_is_no_section(tmp_path: Path) -> None:
    axes = {"learning_rate": (0.004, 0.008)}
    results = results_of(tmp_path, axes=axes)
    assert confounder_section(results) is None
    assert confounder_sentences(results) == []
