"""Curves: interpolated and never extrapolated, each cell beside the baseline of its seed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune_app.sweeps import new_journal, observe
from tune_app.journal.records import Status
from tune_app.stopping.curves import Curves, interpolate, is_same_but_seed, value_at
from tune_app.stopping.divergence import diverged
from tune_app.stopping.kill_rule import KillRule
from tune_app.stopping.referee import Referee


def test_a_curve_is_interpolated_between_its_points_and_never_beyond() -> None:
    line = [(100.0, 10.0), (200.0, 20.0)]
    assert interpolate(line, 150) == 15
    assert interpolate(line, 100) == 10
    assert interpolate(line, 200) == 20
    assert interpolate(line, 99) is None
    assert interpolate(line, 201) is None
    assert interpolate([], 100) is None


def test_a_value_of_observations_is_that_of_their_whole_curve() -> None:
    curve = [observe("cell", tokens, 3 - tokens / 1_000) for tokens in range(100, 900, 100)]
    curve[4] = observe("cell", 500, math.nan)
    points = [(float(point.baseline_tokens), point.bits_per_byte) for point in curve]
    for tokens in range(50, 900, 25):
        expected = interpolate(points, tokens)
        assert value_at(curve, tokens, lambda point: point.bits_per_byte) == expected
        assert (expected is None) == (tokens < 100 or tokens > 800 or 400 < tokens < 600)


def test_each_cell_has_the_baseline_of_its_own_seed(tmp_path: Path) -> None:
    journal = new_journal(tmp_path / "journal.sqlite3", expansions=(2.66, 4.0), seeds=(0, 1))
    cells = journal.cells()
    first, second, other_first, other_second = (cell.key for cell in cells)
    curves = Curves(cells, baseline=journal.sweep().baseline)
    assert curves.baselines_of(first) == curves.baselines_of(other_second) == (first, second)
    assert [curves.is_baseline(cell.key) for cell in cells] == [True, True, False, False]
    assert curves.baseline_of(other_first) == curves.baseline_of(first) == first
    assert curves.baseline_of(other_second) == second
    assert is_same_but_seed(cells[0].values, cells[1].values)
    assert not is_same_but_seed(cells[0].values, cells[2].values)
    without = Curves([cells[0], cells[3]], baseline=first)
    assert without.baseline_of(other_second) is None, "another seed's is no stand-in"


def test_a_baseline_that_is_left_out_holds_up_no_rule(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3", seeds=(0, 1, 2)) as journal:
        cells, baseline = journal.cells(), journal.sweep().baseline
    *others, last = Curves(cells, baseline=baseline).baselines_of(baseline)
    left_out = [
        replace(cell, status=Status.LEFT_OUT) if cell.key == last else cell for cell in cells
    ]
    curves = Curves(left_out, baseline=baseline)
    assert curves.baselines_of(baseline) == tuple(others)
    assert curves.is_baseline(last)


def test_observations_that_arrive_late_take_their_place(tmp_path: Path) -> None:
    journal = new_journal(tmp_path / "journal.sqlite3")
    (cell, other, _) = (cell.key for cell in journal.cells())
    curves = Curves(journal.cells(), baseline=cell, observations=[observe(cell, 300, 1.0)])
    for tokens in (100, 400, 200):
        curves.add(observe(cell, tokens, 1.0))
    assert [point.tokens for point in curves.of(cell)] == [100, 200, 300, 400]
    assert list(curves.of(other)) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_nan_or_infinite_is_divergence(value: float) -> None:
    assert diverged(observe("cell", 1, 20)) is None
    verdict = diverged(observe("cell", 1_024, value))
    assert verdict is not None
    assert verdict.reason == f"bits per byte is {value} at 1,024 tokens"
    assert verdict.evidence == {"bits_per_byte": str(value), "tokens": 1_024}


def test_at_each_nuisance_value_the_baseline_is_the_one_at_that_value(tmp_path: Path) -> None:
    axes = {"nuisance": {"learning_rate_factor": [0.5, 1]}, "seeds": (0, 1)}
    with new_journal(tmp_path / "journal.sqlite3", expansions=(2.66, 4.0), **axes) as journal:
        cells, sweep = journal.cells(), journal.sweep()
    assert sweep.nuisance == ("learning_rate_factor",)
    curves = Curves(cells, baseline=sweep.baseline, nuisance=sweep.nuisance)
    by_label = {cell.label: cell.key for cell in cells}
    own, sibling = by_label["2.66 × 1 × seed 1"], by_label["2.66 × 0.5 × seed 1"]
    assert curves.is_baseline(own) and not curves.is_baseline(sibling), "only its own is immune"
    assert curves.baseline_of(by_label["4 × 0.5 × seed 1"]) == sibling
    assert curves.baseline_of(sibling) == sibling, "it is judged by no other"
    assert curves.baselines_of(sibling) == (by_label["2.66 × 0.5 × seed 0"], sibling)
    assert curves.at_nuisance(sibling) == " at learning rate factor 0.5"


def test_the_kill_rule_compares_at_equal_nuisance_values(tmp_path: Path) -> None:
    """At factor 1 the cell is as bad as the baseline at 0.5, which it is not compared with."""
    nuisance = {"learning_rate_factor": [0.5, 1]}
    path = tmp_path / "journal.sqlite3"
    with new_journal(path, expansions=(2.66, 4.0), nuisance=nuisance) as journal:
        cells, sweep = journal.cells(), journal.sweep()
    by_label = {cell.label: cell.key for cell in cells}
    rule = KillRule(unit="bpb", margin=0.1, span=200)
    referee = Referee(
        {"kill_rule": rule}, Curves(cells, baseline=sweep.baseline, nuisance=sweep.nuisance)
    )
    levels = {"2.66 × 1": 2.0, "2.66 × 0.5": 3.0, "4 × 0.5": 3.0, "4 × 1": 3.0}
    decisions = {
        label: referee.feed(observe(by_label[label], tokens, value))
        for tokens in (100, 200, 300, 400)
        for label, value in levels.items()
    }
    assert [label for label, one in decisions.items() if one is not None] == ["4 × 1"]
    stopped = decisions["4 × 1"]
    assert stopped is not None
    assert "worse than the baseline's 2 at learning rate factor 1; " in stopped.reason
