"""What a sweep needs of disks and stores, asked before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.prepare import prepare
from data.tokenizers.spec import TokenizerSpec
from tests.tune_app.sweeps import new_journal, observe
from tune_app.faults.policy import respond
from tune_app.journal.records import Failure, FailureClass
from tune_app.stores.base import StoreFullError
from tune_app.stores.path import PathStore
from tune_app.sweep.preflight import (
    check_storage,
    checkpoint_bytes,
    keep_tokenizers,
    seconds_between_losses,
    tidy_up,
)
from tune_app.trial.checkpoint_interval import ASSUMED_BETWEEN_LOSSES
from tune_app.trial.checkpoints import Checkpoints


def test_a_store_with_room_is_taken_and_left_as_it_was(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        check_storage(str(tmp_path / "store"), tmp_path, journal.cells(), cells_at_once=1)
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


def test_too_little_room_is_said_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        cells = journal.cells()
        needed = checkpoint_bytes(cells, cells_at_once=1)
        assert 8 * 12 * 990_000 < needed < 8 * 12 * 1_010_000, "3 cells twice, and one twice more"
        monkeypatch.setattr(PathStore, "free_bytes", lambda self: needed - 1)
        with pytest.raises(
            StoreFullError, match="make room there, or choose another --checkpoints"
        ):
            check_storage(str(tmp_path / "store"), tmp_path, cells, cells_at_once=1)
        monkeypatch.setattr(PathStore, "free_bytes", lambda self: needed)
        monkeypatch.setattr("tune_app.journal.disk.free_bytes", lambda path: 2**20)
        with pytest.raises(ValueError, match="the sweep's records needs"):
            check_storage(str(tmp_path / "store"), tmp_path, cells, cells_at_once=1)


def test_the_time_between_losses_is_what_the_sweep_has_seen(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        assert seconds_between_losses(journal) == ASSUMED_BETWEEN_LOSSES
        one, other, _ = (cell.key for cell in journal.cells())
        for cell, tokens in ((one, 500), (one, 1_000), (other, 500)):
            journal.record(observe(cell, tokens, 2.0), None)
        for kind in (FailureClass.HOST, FailureClass.NETWORK, FailureClass.CODE):
            journal.fail(Failure(cell=one, kind=kind, reason="", traceback="", ended=False))
        assert seconds_between_losses(journal) == pytest.approx((10 + 5) / 2)
        code = Failure(
            cell=one, kind=FailureClass.CODE, reason="ImportError: x", traceback="", ended=False
        )
        early = respond(code, [], batch_size=8, early=True, hosts=4).failure
        assert early.kind is FailureClass.HOST
        journal.fail(early)
        assert seconds_between_losses(journal) == pytest.approx((10 + 5) / 2), "nothing was lost"


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        key = journal.cells()[0].key
        journal.start_attempt(key)
        (tmp_path / "store" / key).mkdir(parents=True)
        (tmp_path / "store" / key / "5-abc.pt.1f.tmp").write_bytes(b"half")
        (tmp_path / "store" / key / "4-abc.pt").write_bytes(b"whole")
        tidy_up(str(tmp_path / "store"), journal, tmp_path)
        assert journal.checkpoints() == {}, "without a manifest it is not complete"
    assert [path.name for path in (tmp_path / "store" / key).iterdir()] == ["4-abc.pt"]


def test_the_journal_learns_which_checkpoints_are_there(tmp_path: Path) -> None:
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        one, other, _ = (cell.key for cell in journal.cells())
        for key in (one, other):
            journal.start_attempt(key)
        saved = Checkpoints(PathStore(tmp_path / "inside"), cell=one).save({}, tokens=7)
        journal.keep(other, "inside/removed/9-abc.pt")
        tidy_up(str(tmp_path / "inside"), journal, tmp_path)
        assert journal.checkpoints() == {one: f"inside/{saved}"}
        tidy_up(str(tmp_path / "inside"), journal, tmp_path / "elsewhere")
        assert journal.checkpoints() == {one: f"{tmp_path}/inside/{saved}"}


def test_a_tokenizer_is_kept_with_the_sweep_and_in_a_store_elsewhere(
    small_corpus: Path, cache: Path, tmp_path: Path
) -> None:
    corpus = prepare(str(small_corpus), TokenizerSpec(vocab_size=512), cache=cache)
    folder, store = tmp_path / "sweep", tmp_path / "store"
    folder.mkdir()
    store.mkdir()
    keep_tokenizers(folder, str(folder / "checkpoints"), [corpus])
    assert not (folder / "checkpoints").exists(), "it is in the sweep's folder already"
    keep_tokenizers(folder, str(store), [corpus])
    (one,), (other,) = (where.glob("tokenizers/*/tokenizer.json") for where in (folder, store))
    assert one.read_bytes() == other.read_bytes() == (corpus.folder / one.name).read_bytes()
