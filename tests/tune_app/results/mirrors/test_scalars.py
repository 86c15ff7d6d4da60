"""TensorBoard and W&B get the same names and values, and runs are grouped by phase."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from tests.tune_app.journals import make_journal
from tests.tune_app.observations import observation
from tune_app.results.mirrors.scalars import group_of, scalars_of


def test_every_finite_metric_has_its_tag_and_the_seconds_their_phase() -> None:
    seen = observation("a", 10, bits_per_byte=2.0, train_loss=math.nan, seconds={"train": 3.0})
    found = scalars_of(seen)
    assert found["dev/bits_per_byte"] == 2.0 and found["seconds/train"] == 3.0
    assert "train/loss" not in found and all(map(math.isfinite, found.values()))


def test_a_phase_of_a_study_is_a_group(tmp_path: Path) -> None:
    with make_journal(tmp_path / "journal.sqlite3", axes={"embedding": ("tied",)}) as journal:
        sweep = replace(journal.sweep(), name="1-rank")
    assert group_of(sweep) == "1-rank"
    assert group_of(replace(sweep, origin={"study": "mine", "phase": "rank"})) == "mine/1-rank"
