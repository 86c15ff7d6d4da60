"""The dev sample against the whole split."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.tune_app.observations import observation
from tune_app.results.sample_check import sample_check, undecided


def results(pairs: list[tuple[float, float]]) -> Any:
    found = [
        SimpleNamespace(
            last=observation(str(at), 9, bits_per_byte=sample, full_bits_per_byte=whole)
        )
        for at, (sample, whole) in enumerate(pairs)
    ]
    return SimpleNamespace(with_status=lambda status: found)


def test_an_offset_that_all_cells_share_is_no_error() -> None:
    check = sample_check(results([(2.5, 2.0), (2.6, 2.1), (2.8, 2.3)]))
    assert check is not None
    assert (check.cells, check.spearman) == (3, pytest.approx(1.0))
    assert check.gap_error == pytest.approx(0.0, abs=1e-12)


def test_ranks_that_differ_ties_and_infinity() -> None:
    check = sample_check(results([(2.0, 2.3), (2.0, 2.2), (2.4, 2.1), (float("inf"), 2.0)]))
    assert check is not None
    assert check.cells == 3
    assert check.spearman == pytest.approx(-0.866, abs=1e-3)
    assert "Spearman correlation of -0.87" in check.sentence
    equal = sample_check(results([(2.0, 2.0)] * 3))
    assert equal is not None and equal.spearman != equal.spearman
    assert sample_check(results([(2.0, 2.0)] * 2)) is None


def test_cells_that_the_sample_could_not_stop_are_named() -> None:
    held = SimpleNamespace(cell="k", reason="it is close", evidence={"undecided": True})
    other = SimpleNamespace(cell="k", reason="", evidence={})
    cell = SimpleNamespace(cell=SimpleNamespace(key="k", label="45% × 4"))
    (told,) = undecided(SimpleNamespace(decisions=[other, held], cells=[cell]))  # type: ignore[arg-type]
    assert "too small to stop 45% × 4: it is close" in told
    assert undecided(SimpleNamespace(decisions=[other], cells=[cell])) == []  # type: ignore[arg-type]
