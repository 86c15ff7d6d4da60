"""The ranking at equal tokens, FLOPs and seconds, on curves made up for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune_app.journals import make_journal
from tests.tune_app.observations import observation
from tune_app.results.designs import CellResult, designs_of
from tune_app.results.equal_budgets import view_rows, view_section, view_sentences, views
from tune_app.results.summary import SweepResults, summarise

AXES = {"glu_expansion": (2.66, 4.0)}


@pytest.fixture
def results(tmp_path: Path) -> SweepResults:
    """Two cells of 100 tokens: `2.66` is better, `4` takes half the FLOPs and a quarter of the
    seconds a token."""
    with make_journal(tmp_path / "j", axes=AXES, tokens=100) as journal:
        made = summarise(journal)
    costs, scores = {"2.66": (2, 4), "4": (1, 1)}, {"2.66": (3, 2.5, 2), "4": (4, 2.6, 2.2)}

    def cell(result: CellResult) -> CellResult:
        flops, seconds = costs[result.cell.label]
        curve = tuple(
            observation(
                result.cell.key,
                tokens,
                bits_per_byte=score,
                full_bits_per_byte=score if tokens == 100 else None,
                seconds={"train": seconds * tokens, "evaluate": 1_000},
            )
            for tokens, score in zip((25, 50, 100), scores[result.cell.label], strict=True)
        )
        return replace(result, cell=replace(result.cell, flops_per_token=flops), curve=curve)

    return with_cells(made, tuple(map(cell, made.cells)))


def with_cells(results: SweepResults, cells: tuple[CellResult, ...]) -> SweepResults:
    return replace(results, cells=cells, designs=designs_of(results.sweep, cells))


def test_each_unit_has_the_largest_budget_that_all_have_reached(results: SweepResults) -> None:
    tokens, flops, seconds = views(results)
    assert [view.budget for view in (tokens, flops, seconds)] == [100, 100, 100]
    assert [(one.design.label, one.score, one.done) for one in tokens.places] == [
        ("2.66", 2.0, 1.0),
        ("4", 2.2, 1.0),
    ]
    assert [(one.design.label, one.score, one.done) for one in flops.places] == [
        ("4", 2.2, 1.0),
        ("2.66", 2.5, 0.5),
    ]
    assert [(one.design.label, one.score, one.done) for one in seconds.places] == [
        ("4", 2.2, 1.0),
        ("2.66", 3.0, 0.25),
    ]


def test_between_two_evaluations_the_curve_is_a_line(results: SweepResults) -> None:
    one, other = results.cells
    dearer = replace(other, cell=replace(other.cell, flops_per_token=1.5))
    view = views(with_cells(results, (one, dearer)))[1]
    assert view.budget == 150
    assert [one.score for one in view.places] == [pytest.approx(2.2), pytest.approx(2.25)]


def test_a_change_of_the_leader_is_told_with_its_numbers(results: SweepResults) -> None:
    assert view_sentences(results) == [
        "At equal training FLOPs (1.00e+02) 4 leads, 0.3000 bits per byte ahead of 2.66, which "
        "leads at equal tokens; by then 4 has trained 100% of its tokens, 2.66 50%.",
        "At equal training seconds (1m 40s) 4 leads, 0.8000 bits per byte ahead of 2.66, which "
        "leads at equal tokens; by then 4 has trained 100% of its tokens, 2.66 25%.",
    ]
    same = tuple(replace(one, cell=replace(one.cell, flops_per_token=1)) for one in results.cells)
    as_fast = tuple(
        replace(
            one,
            curve=tuple(replace(point, seconds={"train": point.tokens}) for point in one.curve),
        )
        for one in same
    )
    assert view_sentences(with_cells(results, as_fast)) == [
        "2.66 leads at equal tokens, training FLOPs and training seconds alike."
    ]


def test_what_is_not_known_or_not_reached_is_left_out_and_never_extrapolated(
    results: SweepResults,
) -> None:
    one, other = results.cells
    without = replace(other, curve=tuple(replace(point, seconds={}) for point in other.curve))
    names = [view.unit.name for view in views(with_cells(results, (one, without)))]
    assert names == ["tokens", "training FLOPs"]
    # Its first evaluation comes when the other has spent everything.
    late = replace(one, cell=replace(one.cell, flops_per_token=5))
    names = [view.unit.name for view in views(with_cells(results, (late, other)))]
    assert names == ["tokens", "training seconds"]


def test_seconds_that_stand_still_or_fall_after_a_lost_attempt(results: SweepResults) -> None:
    one, other = results.cells
    first, second, last = other.curve
    again = replace(other, curve=(first, replace(second, seconds={"train": 20}), last))
    view = views(with_cells(results, (one, again)))[2]
    assert view.budget == 100
    assert [(one.design.label, one.score) for one in view.places] == [("4", 2.2), ("2.66", 3.0)]


def test_one_design_alone_is_compared_with_nothing(results: SweepResults) -> None:
    alone = with_cells(results, results.cells[:1])
    assert views(alone) == ()
    assert view_section(alone) is None
    assert view_sentences(alone) == []
    assert view_rows(alone) == []


def test_the_section_and_the_table_have_the_views_side_by_side(results: SweepResults) -> None:
    section = view_section(results)
    assert section is not None
    assert section["heads"][1:] == [
        "equal training FLOPs (1.00e+02)",
        "equal training seconds (1m 40s)",
    ]
    first = section["rows"][0]
    assert (first["place"], first["label"]) == (1, "2.66")
    assert [(one["rank"], one["moved"], one["done"]) for one in first["views"]] == [
        (1, False, "100%"),
        (2, True, "50%"),
        (2, True, "25%"),
    ]
    rows = view_rows(results)
    assert len(rows) == 6
    assert rows[3] == {
        "equal": "training FLOPs",
        "budget": 100,
        "rank": 2,
        "design": "2.66",
        "sample_bits_per_byte": 2.5,
        "share_of_tokens": 0.5,
        "seeds_scored": 1,
    }
