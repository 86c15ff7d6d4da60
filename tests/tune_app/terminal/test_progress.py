"""What a view knows: gaps on interpolated curves, ranks, counts, savings."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune_app.journals import make_journal
from tests.tune_app.observations import observation
from tune_app.journal.records import Observation, Status
from tune_app.terminal.progress import SweepProgress


@pytest.fixture
def progress(tmp_path: Path) -> SweepProgress:
    with make_journal(tmp_path / "quick" / "journal.sqlite3") as journal:
        return SweepProgress.read(journal)


def test_the_gap_is_taken_on_the_baselines_curve_between_its_points(
    progress: SweepProgress,
) -> None:
    sweep = replace(progress.sweep, tokens=1_000)
    base, other = progress.cells[:2]
    curve = [_point(base.key, 100, 3.0), _point(base.key, 300, 2.0)]
    view = SweepProgress(sweep, [base, other], [*curve, _point(other.key, 150, 2.8)])
    assert view.gap(other) == pytest.approx(2.8 - 2.75)


@pytest.mark.parametrize("tokens", [99, 301])
def test_the_baselines_curve_is_not_extrapolated(progress: SweepProgress, tokens: int) -> None:
    base, other = progress.cells[:2]
    curve = [_point(base.key, 100, 3.0), _point(base.key, 300, 2.0)]
    view = SweepProgress(progress.sweep, [base, other], [*curve, _point(other.key, tokens, 2.8)])
    assert view.gap(other) is None
    assert view.gap(base) is None


def test_a_gap_to_a_diverged_baseline_is_not_known(progress: SweepProgress) -> None:
    base, other = progress.cells[:2]
    curve = [_point(base.key, 100, 3.0), _point(base.key, 300, math.nan)]
    view = SweepProgress(progress.sweep, [base, other], [*curve, _point(other.key, 200, 2.8)])
    assert view.gap(other) is None


def test_each_seed_is_compared_with_the_baseline_of_its_seed(tmp_path: Path) -> None:
    with make_journal(tmp_path / "seeds" / "journal.sqlite3", seeds=(0, 1)) as journal:
        progress = SweepProgress.read(journal)
    base = {cell.values["seed"]: cell for cell in progress.cells if progress.is_baseline(cell)}
    assert set(base) == {0, 1}
    cell = next(
        cell
        for cell in progress.with_status(Status.FINISHED)
        if cell.values["seed"] == 1 and not progress.is_baseline(cell)
    )
    own, reference = progress.last(cell), progress.last(base[1])
    assert own is not None and reference is not None
    assert own.baseline_tokens == reference.baseline_tokens
    assert progress.gap(cell) == pytest.approx(own.bits_per_byte - reference.bits_per_byte)


def test_only_finished_cells_are_ranked_by_the_full_dev_split(progress: SweepProgress) -> None:
    ranked = progress.ranked()
    assert {cell.status for cell in ranked} == {Status.FINISHED}
    assert len(ranked) == len(progress.with_status(Status.FINISHED)) >= 3
    scores = [progress.score(cell) for cell in ranked]
    assert scores == sorted(scores, key=lambda score: score or 0.0)


def test_counts_name_every_fate(progress: SweepProgress) -> None:
    assert progress.counts() == "4 finished, 6 stopped, 1 failed, 1 infeasible"


def test_a_driver_that_takes_up_a_sweep_finds_failed_cells_waiting(
    progress: SweepProgress,
) -> None:
    progress.resume()
    assert progress.counts() == "4 finished, 6 stopped, 1 infeasible, 1 pending"


def test_what_stopping_saved_is_what_stopped_cells_did_not_train(progress: SweepProgress) -> None:
    tokens, seconds = progress.saved_by_stopping()
    stopped = progress.with_status(Status.STOPPED)
    assert tokens == sum(150_000 - progress.tokens(cell) for cell in stopped)
    # The journal's cells train and evaluate at between 5,000 and 21,000 tokens a second.
    assert tokens / 21_000 < seconds < tokens / 5_000


def test_tokens_between_two_evaluations_are_counted_in_the_baselines(
    progress: SweepProgress,
) -> None:
    base, other = progress.cells[:2]
    other = replace(other, values={**other.values, "vocab_size": 8_192}, status=Status.RUNNING)
    sweep = replace(
        progress.sweep, bytes_per_token={"byte_level_bpe-4096": 3.0, "byte_level_bpe-8192": 3.6}
    )
    view = SweepProgress(sweep, [base, other])
    view.advance(other, 1_000)
    assert view.tokens(other) == 1_200
    assert view.share(other) == pytest.approx(1_200 / 150_000)


def _point(cell: str, tokens: int, value: float) -> Observation:
    return observation(cell, tokens, bits_per_byte=value)
