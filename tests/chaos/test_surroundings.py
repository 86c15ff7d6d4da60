"""What the faults stand on: processes that die together, names that change places, a journal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.faults import tear
from tests.chaos.processes import MARK, kill_marked, kill_session, marked, members
from tests.chaos.progress import Progress
from tests.chaos.store import FolderUnderTest, exchange, tokens_of
from tests.tune_app.sweeps import new_journal, observe

FAMILY = (
    "import subprocess, sys, time\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "print('ready', flush=True); time.sleep(60)"
)


def family(token: str) -> subprocess.Popen[bytes]:
    """A process with a child, in a session of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", FAMILY],
        env={**os.environ, MARK: token},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_a_session_dies_as_a_whole() -> None:
    with family("one") as process:
        assert len(members(process.pid)) == 2
        kill_session(process.pid)
        assert members(process.pid) == []
        assert process.wait() == -signal.SIGKILL


def test_a_child_is_found_by_its_mark_after_its_parent_has_died() -> None:
    token = f"mark-{os.getpid()}"
    with family(token) as process:
        process.kill()
        process.wait()
        (orphan,) = marked(token)
        assert orphan.pid != process.pid
        kill_marked(token)
        assert marked(token) == []


def test_a_store_that_is_away_is_a_file_in_its_place(tmp_path: Path) -> None:
    store = FolderUnderTest(tmp_path / "store")
    (tmp_path / "store" / "cell").mkdir()
    for tokens, length in ((100, 8), (200, 4)):
        path = tmp_path / "store" / "cell" / f"{tokens}-abc.pt"
        path.write_bytes(bytes(8))
        path.with_suffix(".json").write_text(json.dumps({"bytes": length}), "utf-8")
    (tmp_path / "store" / "cell" / "300-abc.pt").touch()
    store.take_away()
    assert (tmp_path / "store").is_file()
    assert [tokens_of(path) for path in store.whole("cell")] == [100]
    with pytest.raises(NotADirectoryError):
        (tmp_path / "store" / "cell" / "3.pt").touch()
    store.bring_back()
    assert [tokens_of(path) for path in store.whole("cell")] == [100], "the others are not whole"


def test_names_change_places_only_where_both_are_there(tmp_path: Path) -> None:
    (tmp_path / "one").touch()
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one").exists()


def test_a_torn_file_keeps_its_first_half(tmp_path: Path) -> None:
    path = tmp_path / "1.pt"
    path.write_bytes(b"0123456789")
    tear(path)
    assert path.read_bytes() == b"01234"


def test_progress_is_the_newest_report_of_a_journal_that_is_being_written(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "journal.sqlite3")
    progress.look()
    assert (progress.tokens, progress.all_ended) == ({}, False), "there is no journal yet"
    with new_journal(tmp_path / "journal.sqlite3") as journal:
        cell = journal.cells()[0].key
        journal.start_attempt(cell)
        journal.record(observe(cell, 500, 2.0), None)
        progress.look()
        assert progress.running == [cell]
        assert progress.tokens == {cell: 500}
        time.sleep(0.01)
        journal.beat(cell, 300, "host")
        progress.look()
        progress.look()
    assert [sample.tokens for sample in progress.samples] == [500, 300], "less after a resume"
    assert progress.attempts[cell] == 1
