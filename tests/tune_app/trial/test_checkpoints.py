"""Checkpoints: only a whole one of the right cell is ever loaded."""

from __future__ import annotations

import json
import logging
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from tune_app.cluster.options import RunOptions
from tune_app.stores.base import Data, Sink, StoreFullError, StoreUnreachableError, TornError
from tune_app.stores.path import PathStore
from tune_app.trial.checkpoints import Checkpoints

CELL = "abc"


def saved(folder: Path, *tokens: int, cell: str = CELL) -> Checkpoints:
    checkpoints = Checkpoints(PathStore(folder), cell=cell)
    for count in tokens:
        checkpoints.save(weights(count), tokens=count)
    return checkpoints


def weights(tokens: int) -> dict[str, torch.Tensor]:
    return {"weights": torch.full((64,), float(tokens))}


def file(folder: Path, tokens: int, ending: str = "pt", cell: str = CELL) -> Path:
    (found,) = (folder / cell).glob(f"{tokens}-*.{ending}")
    return found


def test_the_newest_is_loaded_and_only_the_newest_two_are_kept(tmp_path: Path) -> None:
    restored = saved(tmp_path, 1_000, 2_000, 3_000).newest()
    assert restored.tokens == 3_000
    assert restored.state is not None
    assert torch.equal(restored.state["weights"], torch.full((64,), 3_000.0))
    assert restored.damaged == ()
    tokens = sorted(path.name.partition("-")[0] for path in (tmp_path / CELL).iterdir())
    assert tokens == ["2000", "2000", "3000", "3000"]


def test_the_best_is_kept_beside_the_newest(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path)
    for tokens, score in ((1_000, 2.0), (2_000, 1.5), (3_000, 1.7), (4_000, 1.8), (5_000, 1.9)):
        checkpoints.save(weights(tokens), tokens=tokens, bits_per_byte=score)
    names = {path.name.partition("-")[0] for path in (tmp_path / CELL).iterdir()}
    assert names == {"2000", "4000", "5000"}
    checkpoints.save(weights(6_000), tokens=6_000, bits_per_byte=1.9, last=True)
    names = {path.name.partition("-")[0] for path in (tmp_path / CELL).iterdir()}
    assert names == {"2000", "6000"}


def test_newer_ones_that_were_damaged_make_room(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1_000, 2_000, 3_000)
    for path in (tmp_path / CELL).glob("*.pt"):
        path.write_bytes(b"")
    assert checkpoints.newest().state is None
    checkpoints.save(weights(500), tokens=500)
    assert checkpoints.newest().tokens == 500
    assert len(list((tmp_path / CELL).iterdir())) == 2


def test_none_where_nothing_was_saved(tmp_path: Path) -> None:
    assert saved(tmp_path).newest().state is None


def test_a_second_one_at_the_same_tokens_is_whole_as_well(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 3_000)
    checkpoints.save({"weights": torch.zeros(3)}, tokens=3_000)
    restored = checkpoints.newest()
    assert restored.tokens == 3_000
    assert restored.damaged == ()


@pytest.mark.parametrize(
    "damage", ["cut", "zeros", "flip", "no manifest", "no data", "bad manifest", "other manifest"]
)
def test_a_damaged_one_is_passed_over(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = saved(tmp_path, 2_000, 3_000)
    data, manifest = file(tmp_path, 3_000), file(tmp_path, 3_000, "json")
    content = bytearray(data.read_bytes())
    if damage == "cut":
        data.write_bytes(content[: len(content) // 2])
    elif damage == "zeros":
        data.write_bytes(bytes(len(content)))
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "no data":
        data.unlink()
    elif damage == "bad manifest":
        manifest.write_text("{")
    else:
        shutil.copy(file(tmp_path, 2_000, "json"), manifest)
    with caplog.at_level(logging.WARNING):
        restored = checkpoints.newest()
    assert restored.tokens == 2_000
    assert restored.state is not None
    assert torch.equal(restored.state["weights"], torch.full((64,), 2_000.0))
    # One without a manifest was never complete, so nothing of it was lost.
    assert len(restored.damaged) == (0 if damage == "no manifest" else 1)
    assert damage == "no manifest" or "the one at 2,000 tokens is used" in caplog.text


def test_when_none_is_left_the_cell_starts_again_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = saved(tmp_path, 2_000, 3_000)
    for path in (tmp_path / CELL).glob("*.pt"):
        path.write_bytes(path.read_bytes()[:-1])
    restored = checkpoints.newest()
    assert restored.state is None
    assert len(restored.damaged) == 2
    assert "the cell starts again" in caplog.text


def test_checkpoints_of_two_cells_that_were_swapped_are_not_taken(tmp_path: Path) -> None:
    one, other = saved(tmp_path, 3_000), saved(tmp_path, 3_000, cell="other")
    (tmp_path / CELL).rename(tmp_path / "aside")
    (tmp_path / "other").rename(tmp_path / CELL)
    (tmp_path / "aside").rename(tmp_path / "other")
    for checkpoints in (one, other):
        restored = checkpoints.newest()
        assert restored.state is None
        assert len(restored.damaged) == 1


def test_nothing_in_a_checkpoint_is_unpickled(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "was run",))  # type: ignore[return-value]

    checkpoints = saved(tmp_path, 1)
    checkpoints.save({"weights": Hostile()}, tokens=2)
    restored = checkpoints.newest()
    assert restored.tokens == 1
    assert not (tmp_path / "was run").exists()


class LossyStore(PathStore):
    """A disk that keeps something else than it was given."""

    def fetch(self, name: str, sink: Sink) -> None:
        sink.write(super().read(name)[:-1])


def test_what_did_not_arrive_whole_is_never_made_current(tmp_path: Path) -> None:
    saved(tmp_path, 1_000)
    with pytest.raises(TornError, match="did not keep"):
        Checkpoints(LossyStore(tmp_path), cell=CELL).save(weights(2_000), tokens=2_000)
    assert saved(tmp_path).newest().tokens == 1_000


def test_a_cut_off_one_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1_000, 2_000)
    file(tmp_path, 2_000, "json").unlink()
    checkpoints.save(weights(2_500), tokens=2_500)
    assert len(list((tmp_path / CELL).iterdir())) == 4


def test_sigkill_while_saving_leaves_a_whole_one(tmp_path: Path) -> None:
    program = (
        "import itertools, torch\n"
        "from pathlib import Path\n"
        "from tune_app.trial.checkpoints import Checkpoints\n"
        "from tune_app.stores.path import PathStore\n"
        f"checkpoints = Checkpoints(PathStore(Path({str(tmp_path)!r})), cell='abc')\n"
        "for tokens in itertools.count(1):\n"
        "    checkpoints.save({'weights': torch.full((500_000,), float(tokens))}, tokens=tokens)\n"
        "    print(tokens, flush=True)\n"
    )
    saver = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert saver.stdout is not None
    for _ in range(3):
        saver.stdout.readline()
    time.sleep(0.013)
    saver.kill()
    acknowledged = [int(line) for line in saver.stdout.read().split()]
    saver.wait()
    checkpoints = saved(tmp_path)
    restored = checkpoints.newest()
    assert restored.tokens >= max(acknowledged, default=3)
    assert restored.state is not None
    assert torch.equal(restored.state["weights"], torch.full((500_000,), float(restored.tokens)))


def test_the_manifest_says_what_is_in_it(tmp_path: Path) -> None:
    saved(tmp_path, 3_000)
    manifest = json.loads(file(tmp_path, 3_000, "json").read_text())
    assert manifest["cell"] == CELL
    assert manifest["tokens"] == 3_000
    assert manifest["bytes"] == file(tmp_path, 3_000).stat().st_size


def test_a_folder_that_is_away_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path / "store", 1_000)
    (tmp_path / "store").rename(tmp_path / "away")
    with pytest.raises(StoreUnreachableError, match="is missing"):
        checkpoints.newest()
    (tmp_path / "store").write_text("something else in its place")
    with pytest.raises(StoreUnreachableError, match="is missing"):
        checkpoints.newest()
    (tmp_path / "store").unlink()
    (tmp_path / "away").rename(tmp_path / "store")
    assert checkpoints.newest().tokens == 1_000


class BadSector(PathStore):
    """A disk that cannot read the newest state, or any."""

    bad = "3000-"

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        if self.bad in name and name.endswith(".pt"):
            raise StoreUnreachableError("input/output error")
        with super().reading(name) as file:
            yield file


def test_one_that_cannot_be_read_is_passed_over_where_an_older_one_can_be(tmp_path: Path) -> None:
    saved(tmp_path, 2_000, 3_000)
    restored = Checkpoints(BadSector(tmp_path), cell=CELL).newest()
    assert restored.tokens == 2_000
    assert "cannot be read" in restored.damaged[0]
    store = BadSector(tmp_path)
    store.bad = "00-"
    with pytest.raises(StoreUnreachableError):
        Checkpoints(store, cell=CELL).newest()


@pytest.mark.parametrize(
    ("kept", "expected", "at_the_end"),
    [
        ({"keep": 1}, {"2000", "5000"}, {"2000", "6000"}),
        ({"keep": 3, "keep_best": 0}, {"3000", "4000", "5000"}, {"4000", "5000", "6000"}),
        ({"keep_best": 0}, {"4000", "5000"}, {"6000"}),
        ({"keep_best": 2}, {"2000", "3000", "4000", "5000"}, {"2000", "3000", "6000"}),
    ],
)
def test_how_many_are_kept_is_a_setting(
    tmp_path: Path, kept: dict[str, Any], expected: set[str], at_the_end: set[str]
) -> None:
    checkpoints = Checkpoints(PathStore(tmp_path), cell=CELL, **kept)
    for tokens, score in ((1_000, 2.0), (2_000, 1.5), (3_000, 1.7), (4_000, 1.8), (5_000, 1.9)):
        checkpoints.save(weights(tokens), tokens=tokens, bits_per_byte=score)
    assert {path.name.partition("-")[0] for path in (tmp_path / CELL).iterdir()} == expected
    checkpoints.save(weights(6_000), tokens=6_000, bits_per_byte=1.9, last=True)
    assert {path.name.partition("-")[0] for path in (tmp_path / CELL).iterdir()} == at_the_end


@pytest.mark.parametrize("keep", [0, -1])
def test_one_is_always_kept(tmp_path: Path, keep: int) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        Checkpoints(PathStore(tmp_path), cell=CELL, keep=keep)
    with pytest.raises(ValueError, match="--keep-best is -1; it must be 0 or more"):
        RunOptions(keep_best=-1)
    with pytest.raises(ValueError, match=f"--keep-checkpoints is {keep}; it must be at least 1"):
        RunOptions(keep_checkpoints=keep)


def test_a_score_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path)
    for tokens, score in ((1, 3.0), (2, 3.1), (3, 3.2), (4, math.nan)):
        checkpoints.save(weights(tokens), tokens=tokens, bits_per_byte=score)
    names = {path.name.partition("-")[0] for path in (tmp_path / CELL).iterdir()}
    assert names == {"1", "3", "4"}


def test_what_lies_under_a_former_key_is_read_and_left(tmp_path: Path) -> None:
    saved(tmp_path, 1_000, 2_000, cell="former")
    checkpoints = Checkpoints(PathStore(tmp_path), cell=CELL, former_key="former")
    assert checkpoints.newest().tokens == 2_000
    checkpoints.save(weights(1_500), tokens=1_500)
    assert checkpoints.newest().tokens == 1_500, "what is under the key of today goes first"
    file(tmp_path, 1_500).write_bytes(b"")
    restored = checkpoints.newest()
    assert restored.tokens == 2_000
    assert len(restored.damaged) == 1
    assert len(list((tmp_path / "former").iterdir())) == 4
    assert Checkpoints(PathStore(tmp_path), cell=CELL).newest().state is None


class Counting(PathStore):
    """A store that remembers the largest piece it was given, or gave."""

    largest = 0

    @contextmanager
    def writing(self, name: str) -> Iterator[Sink]:
        with super().writing(name) as sink:
            yield self._counted(sink)

    def fetch(self, name: str, sink: Sink) -> None:
        super().fetch(name, self._counted(sink))

    def _counted(self, sink: Sink) -> Sink:
        store = self

        class Counted:
            def write(self, data: Data, /) -> int:
                store.largest = max(store.largest, len(data))
                return sink.write(data)

        return Counted()


def test_a_state_passes_through_one_tensor_at_a_time(tmp_path: Path) -> None:
    store = Counting(tmp_path)
    state = {str(layer): torch.full((300_000,), float(layer)) for layer in range(8)}
    Checkpoints(store, cell=CELL).save(state, tokens=1)
    assert 0 < store.largest <= 1_200_000 < file(tmp_path, 1).stat().st_size
    restored = Checkpoints(store, cell=CELL).newest().state
    assert restored is not None
    assert all(torch.equal(restored[name], tensor) for name, tensor in state.items())


class Full(PathStore):
    """A disk without room, which torch would call an unexpected position."""

    @contextmanager
    def writing(self, name: str) -> Iterator[Sink]:
        class Nothing:
            def write(self, data: Data, /) -> int:
                raise StoreFullError("no room")

        with super().writing(name):
            yield Nothing()


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    with pytest.raises(StoreFullError, match="no room"):
        Checkpoints(Full(tmp_path), cell=CELL).save(weights(1), tokens=1)
    assert list((tmp_path / CELL).iterdir()) == []
