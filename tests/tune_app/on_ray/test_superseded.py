"""The driver removes old checkpoints where trials may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tune_app.on_ray.superseded import Superseded
from tune_app.stores.base import StoreRefusedError
from tune_app.stores.path import PathStore
from tune_app.trial.checkpoints import Checkpoints, Superseding


class AddsOnly(PathStore):
    """A folder as a worker's key sees it."""

    def remove(self, name: str) -> None:
        raise StoreRefusedError(f"{name} may not be removed")


def trained(folder: Path, cell: str) -> Superseding:
    """Four checkpoints of a cell, of which its trial can remove none; returns what it asks for."""
    trial = Checkpoints(AddsOnly(folder), cell=cell)
    for tokens in (100, 200, 300, 400):
        name = trial.save({"step": tokens}, tokens=tokens, bits_per_byte=1e3 / tokens)
    assert trial.unpruned == Superseding(newest=name, keep=2)
    return Superseding.from_json(trial.unpruned.json)


def left(folder: Path, cell: str) -> list[int]:
    """Tokens of the checkpoints that are there, each with its manifest."""
    stems = {path.stem for path in (folder / cell).iterdir()}
    assert len(list((folder / cell).iterdir())) == 2 * len(stems)
    return sorted(int(stem.partition("-")[0]) for stem in stems)


def test_what_a_trial_had_to_leave_is_removed(tmp_path: Path) -> None:
    after = {cell: trained(tmp_path, cell) for cell in ("one", "two")}
    with Superseded(lambda: PathStore(tmp_path), keep_best=1) as superseded:
        for cell, asked in after.items():
            superseded.prune(cell, asked)
    assert left(tmp_path, "one") == left(tmp_path, "two") == [300, 400]
    assert Checkpoints(PathStore(tmp_path), cell="two").newest().tokens == 400


def test_what_its_trial_found_damaged_does_not_count(tmp_path: Path) -> None:
    trained(tmp_path, "one")
    (spoilt,) = (tmp_path / "one").glob("400-*.pt")
    spoilt.write_bytes(b"spoilt")
    trial = Checkpoints(AddsOnly(tmp_path), cell="one")
    assert trial.newest().tokens == 300
    trial.save({"step": 350}, tokens=350)
    assert trial.unpruned is not None
    assert trial.unpruned.damaged == (f"one/{spoilt.stem}",)
    with Superseded(lambda: PathStore(tmp_path), keep_best=0) as superseded:
        superseded.prune("one", trial.unpruned)
    assert left(tmp_path, "one") == [300, 350]


def test_what_its_trial_is_to_keep_for_ever_stays(tmp_path: Path) -> None:
    trained(tmp_path, "one")
    trial = Checkpoints(AddsOnly(tmp_path), cell="one")
    trial.never_remove(200)
    trial.save({"step": 500}, tokens=500)
    assert trial.unpruned is not None
    with Superseded(lambda: PathStore(tmp_path), keep_best=0) as superseded:
        superseded.prune("one", Superseding.from_json(trial.unpruned.json))
    assert left(tmp_path, "one") == [200, 400, 500]


def test_a_trial_has_nothing_removed_for_what_is_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = trained(tmp_path, "one")
    trained(tmp_path, "two")
    with Superseded(lambda: PathStore(tmp_path), keep_best=1) as superseded:
        superseded.prune("two", asked)  # another's
        superseded.prune("one", Superseding(newest="one/900-beef.pt", keep=1))
    assert left(tmp_path, "one") == left(tmp_path, "two") == [100, 200, 300, 400]
    assert "one/900-beef.pt is gone" in caplog.text


def test_who_may_remove_nothing_either_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    after = {cell: trained(tmp_path, cell) for cell in ("one", "two")}
    with Superseded(lambda: AddsOnly(tmp_path), keep_best=1) as superseded:
        for cell, asked in after.items():
            superseded.prune(cell, asked)
    assert caplog.text.count("old checkpoints, which fill its disk") == 1
