"""Checkpoints: only a whole one of the right cell is ever loaded."""

from __future__ import annotations

import json
import logging
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tune_app.checkpoints import MAXIMUM_INTERVAL, CheckpointFolder, is_due


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    checkpoints = CheckpointFolder(tmp_path / "cell", cell="abc")
    for tokens in (1_000, 2_000, 3_000):
        checkpoints.save({"weights": torch.full((64,), float(tokens))}, tokens=tokens)
    return checkpoints


def test_the_newest_is_loaded_and_only_the_newest_two_are_kept(
    folder: CheckpointFolder, tmp_path: Path
) -> None:
    newest = folder.newest()
    assert newest is not None
    assert newest.tokens == 3_000
    assert torch.equal(newest.state["weights"], torch.full((64,), 3_000.0))
    names = sorted(path.name for path in (tmp_path / "cell").iterdir())
    assert names == ["2000.json", "2000.pt", "3000.json", "3000.pt"]


def test_a_newer_one_that_was_damaged_makes_room(folder: CheckpointFolder, tmp_path: Path) -> None:
    for path in (tmp_path / "cell").glob("*.pt"):
        path.write_bytes(b"")
    assert folder.newest() is None
    folder.save({"weights": torch.ones(1)}, tokens=500)
    newest = folder.newest()
    assert newest is not None
    assert newest.tokens == 500
    assert len(list((tmp_path / "cell").iterdir())) == 2


def test_a_second_one_at_the_same_tokens_replaces_the_first(folder: CheckpointFolder) -> None:
    folder.save({"weights": torch.zeros(3)}, tokens=3_000)
    newest = folder.newest()
    assert newest is not None
    assert torch.equal(newest.state["weights"], torch.zeros(3))


def test_none_where_nothing_was_saved(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "nothing", cell="abc").newest() is None


@pytest.mark.parametrize("damage", ["cut", "flip", "no manifest", "no data", "bad manifest"])
def test_a_damaged_one_is_passed_over(
    folder: CheckpointFolder, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    data, manifest = tmp_path / "cell" / "3000.pt", tmp_path / "cell" / "3000.json"
    content = bytearray(data.read_bytes())
    if damage == "cut":
        data.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "no data":
        data.unlink()
    else:
        manifest.write_text("{")
    with caplog.at_level(logging.WARNING):
        newest = folder.newest()
    assert newest is not None
    assert newest.tokens == 2_000
    assert damage == "no manifest" or "damaged" in caplog.text


def test_one_of_another_cell_is_not_taken(folder: CheckpointFolder, tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "cell", cell="other").newest() is None


def test_nothing_in_a_checkpoint_is_unpickled(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "was run",))  # type: ignore[return-value]

    checkpoints = CheckpointFolder(tmp_path / "cell", cell="abc")
    checkpoints.save({"weights": torch.ones(1)}, tokens=1)
    checkpoints.save({"weights": Hostile()}, tokens=2)
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.tokens == 1
    assert not (tmp_path / "was run").exists()


def test_a_full_disk_leaves_the_ones_before(folder: CheckpointFolder, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, hard))
    try:
        with pytest.raises(OSError):
            folder.save({"weights": torch.zeros(100_000)}, tokens=4_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    newest = folder.newest()
    assert newest is not None
    assert newest.tokens == 3_000
    assert not list((tmp_path / "cell").glob("*.tmp"))


def test_sigkill_while_saving_leaves_a_whole_one(tmp_path: Path) -> None:
    program = (
        "import itertools, torch\n"
        "from pathlib import Path\n"
        "from tune_app.checkpoints import CheckpointFolder\n"
        f"folder = CheckpointFolder(Path({str(tmp_path / 'cell')!r}), cell='abc')\n"
        "for tokens in itertools.count(1):\n"
        "    folder.save({'weights': torch.full((500_000,), float(tokens))}, tokens=tokens)\n"
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
    folder = CheckpointFolder(tmp_path / "cell", cell="abc")
    newest = folder.newest()
    assert newest is not None
    assert newest.tokens >= max(acknowledged, default=3)
    assert torch.equal(newest.state["weights"], torch.full((500_000,), float(newest.tokens)))
    folder.save({"weights": torch.ones(1)}, tokens=10**6)
    assert not list((tmp_path / "cell").glob("*.tmp"))


def test_the_manifest_says_what_is_in_it(folder: CheckpointFolder, tmp_path: Path) -> None:
    manifest = json.loads((tmp_path / "cell" / "3000.json").read_text())
    assert manifest["cell"] == "abc"
    assert manifest["tokens"] == 3_000
    assert manifest["bytes"] == (tmp_path / "cell" / "3000.pt").stat().st_size


def test_checkpoints_cost_two_percent_of_the_time_at_most() -> None:
    assert not is_due(0.9, cost=0)
    assert is_due(1.0, cost=0)
    assert not is_due(99, cost=2.0)
    assert is_due(100, cost=2.0)
    assert is_due(MAXIMUM_INTERVAL, cost=60.0), "but never wait longer than the user asked"
