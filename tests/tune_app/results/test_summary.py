"""Ranks, gaps and savings, on journals made up for it."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune_app.journals import BYTES_PER_TOKEN, make_journal
from tests.tune_app.observations import changed
from tune_app.journal.records import Status
from tune_app.results.designs import CellResult, designs_of
from tune_app.results.summary import SweepResults, summarise


@pytest.fixture
def results(tmp_path: Path) -> SweepResults:
    with make_journal(tmp_path / "journal.sqlite3") as journal:
        return summarise(journal)


def _with_score(results: SweepResults, label: str, score: float) -> SweepResults:
    """The same sweep, had one cell ended with another score."""

    def scored(result: CellResult) -> CellResult:
        if result.cell.label != label:
            return result
        last = changed(result.curve[-1], full_bits_per_byte=score)
        return replace(result, curve=(*result.curve[:-1], last))

    cells = tuple(scored(cell) for cell in results.cells)
    return replace(results, cells=cells, designs=designs_of(results.sweep, cells))


def test_only_finished_cells_are_ranked_best_first(results: SweepResults) -> None:
    labels = [design.label for design in results.ranking]
    finished = {cell.cell.label for cell in results.with_status(Status.FINISHED)}
    assert set(labels) == finished and len(labels) == len(finished) == 4
    scores = [design.mean for design in results.ranking]
    assert scores == sorted(scores)
    # A stopped cell may have been ahead of all when it was stopped, and has no rank all the same.
    assert all(cell.score is None for cell in results.with_status(Status.STOPPED))


def test_rank_is_by_the_full_split_not_by_the_sample(results: SweepResults) -> None:
    last = results.ranking[-1].label
    changed = _with_score(results, last, 1.0)
    assert changed.leader is not None and changed.leader.label == last


def test_equal_scores_are_ranked_by_label(results: SweepResults) -> None:
    best = results.ranking[0].mean
    assert best is not None
    for label in ("25% × 2", "35% × 3"):
        results = _with_score(results, label, best)
    assert [design.label for design in results.ranking[:3]] == [
        "25% × 2",
        "35% × 2.66",
        "35% × 3",
    ]


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_what_is_no_number_never_ranks(results: SweepResults, score: float) -> None:
    label = results.ranking[0].label
    changed = _with_score(results, label, score)
    assert label not in [design.label for design in changed.ranking]


def test_gap_is_to_the_baseline_seed_by_seed(tmp_path: Path) -> None:
    with make_journal(tmp_path / "journal.sqlite3", seeds=(0, 1, 2)) as journal:
        results = summarise(journal)
    assert results.baseline is not None and results.baseline.label == "35% × 2.66"
    design = next(design for design in results.designs if design.label == "25% × 3")
    assert set(design.scores) == {1, 2}, "its first seed was stopped"
    paired = [design.scores[seed] - results.baseline.scores[seed] for seed in (1, 2)]
    assert results.gap(design) == pytest.approx(statistics.fmean(paired))
    assert results.gap(results.baseline) == 0
    assert design.deviation == pytest.approx(statistics.stdev(design.scores.values()))
    assert len(results.designs) == 12 and len(results.cells) == 36


def test_gap_curve_interpolates_and_never_extrapolates(results: SweepResults) -> None:
    baseline = results.baseline
    assert baseline is not None
    reference = dict(baseline.cells[0].points)
    cell = next(c for c in results.cells if c.cell.label == "25% × 4")
    assert results.gap_curve(cell) == [
        (tokens, pytest.approx(value - reference[tokens])) for tokens, value in cell.points
    ]
    between = replace(cell, curve=tuple(replace(p, baseline_tokens=28_125) for p in cell.curve[:1]))
    ((_, gap),) = results.gap_curve(between)
    middle = (reference[18_750] + reference[37_500]) / 2
    assert gap == pytest.approx(cell.curve[0].bits_per_byte - middle)
    beyond = replace(cell, curve=tuple(replace(p, baseline_tokens=999_999) for p in cell.curve))
    assert results.gap_curve(beyond) == []


def test_saved_share_counts_the_flops_that_stopping_left_unspent(results: SweepResults) -> None:
    whole = unspent = 0.0
    for cell in results.cells:
        if cell.cell.status in (Status.FINISHED, Status.STOPPED):
            assert cell.cell.flops_per_token is not None and cell.last is not None
            whole += cell.cell.flops_per_token * 150_000
            unspent += cell.cell.flops_per_token * (150_000 - cell.last.tokens)
    assert results.saved_share == pytest.approx(unspent / whole)
    assert 0 < unspent / whole < 1


def test_a_sweep_that_has_not_begun(tmp_path: Path) -> None:
    axes = {"embedding": ("tied", "untied")}
    fates = {("tied",): "pending", ("untied",): "pending"}
    with make_journal(tmp_path / "journal.sqlite3", axes=axes, fates=fates) as journal:
        results = summarise(journal)
    assert results.leader is None and results.ranking == []
    assert results.saved_share is None
    assert sum(results.seconds.values()) == 0


def test_perplexity_belongs_to_the_score(results: SweepResults) -> None:
    leader = results.leader
    assert leader is not None and leader.mean is not None
    assert leader.perplexity == pytest.approx(2 ** (leader.mean * BYTES_PER_TOKEN))
