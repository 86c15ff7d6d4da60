"""A full disk pauses a sweep: nothing is lost, nothing is half written, and it goes on."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tune_app.journal.test_journal_faults import check_upgraded, stop, version_1
from tests.tune_app.sweeps import new_journal, observe
from tune_app.journal.disk import free_bytes, require_free
from tune_app.journal.full_disk import wait_until_written
from tune_app.journal.journal import Journal, JournalFullError
from tune_app.journal.records import Status

SIZE = 1 << 20
"""Bytes of the small disk."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a mebibyte, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, *, leave: int = 0) -> Path:
    """A file that takes what the disk has left, but for so many bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        while (free := free_bytes(disk) - leave) > 0:
            file.write(bytes(min(free, 4096)))
    return filler


def write_until_full(journal: Journal) -> int:
    """The last row that the disk took."""
    cell = journal.cells()[1].key
    last = len(journal.observations())
    with pytest.raises(JournalFullError):
        while True:
            journal.record(observe(cell, last + 1, 2.0), stop(cell, last + 1))
            last += 1
    return last


def test_free_bytes_of_a_folder_that_is_to_be(tmp_path: Path, small_disk: Path) -> None:
    assert free_bytes(small_disk / "not" / "yet") == SIZE
    (small_disk / "file").write_bytes(bytes(100_000))
    assert SIZE - 110_000 < free_bytes(small_disk) < SIZE - 90_000
    assert free_bytes(tmp_path) > SIZE


def test_too_little_room_is_refused_with_what_there_is_and_what_is_needed(
    small_disk: Path,
) -> None:
    require_free(small_disk, SIZE, "a checkpoint")
    with pytest.raises(ValueError, match=r"1\.0 MiB free, but a checkpoint needs 3\.0 MiB; "):
        require_free(small_disk, 3 * SIZE, "a checkpoint")


@pytest.mark.parametrize("leave", [0, 5_000, 50_000])
def test_a_write_on_a_full_disk_leaves_nothing_and_may_be_made_again(
    small_disk: Path, leave: int
) -> None:
    path = small_disk / "journal.sqlite3"
    with new_journal(path) as journal:
        cell = journal.cells()[1].key
        # The log exists before the disk fills up.
        journal.record(observe(cell, 1, 2.0), stop(cell, 1))
        filler = fill(small_disk, leave=leave)
        last = write_until_full(journal)
        for _ in range(3):
            with pytest.raises(JournalFullError) as caught:
                journal.record(observe(cell, last + 1, 2.0), stop(cell, last + 1))
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(small_disk)
        assert [point.tokens for point in journal.observations()] == list(range(1, last + 1))
        with Journal.open(path, read_only=True) as reader:
            assert len(reader.decisions()) == last
        filler.unlink()
        journal.record(observe(cell, last + 1, 2.0), stop(cell, last + 1))
        assert len(journal.decisions()) == len(journal.observations()) == last + 1
    with Journal.open(path) as journal:
        assert len(journal.decisions()) == len(journal.observations()) == last + 1


def test_a_journal_is_not_begun_or_opened_on_a_full_disk_and_is_afterwards(
    small_disk: Path,
) -> None:
    path = small_disk / "journal.sqlite3"
    filler = fill(small_disk)
    with pytest.raises(JournalFullError):
        new_journal(path)
    assert not path.exists()
    filler.unlink()
    new_journal(path).close()
    filler = fill(small_disk)
    with pytest.raises(JournalFullError), Journal.open(path) as journal:
        journal.start_attempt(journal.cells()[0].key)
    filler.unlink()
    with Journal.open(path) as journal:
        journal.start_attempt(journal.cells()[0].key)
        assert journal.cells()[0].status is Status.RUNNING


def test_a_journal_that_is_closed_on_a_full_disk_has_all_its_rows(small_disk: Path) -> None:
    path = small_disk / "journal.sqlite3"
    with new_journal(path) as journal:
        filler = fill(small_disk, leave=300_000)
        last = write_until_full(journal)
    assert last > 5
    with Journal.open(path, read_only=True) as journal:
        assert len(journal.decisions()) == len(journal.observations()) == last
    filler.unlink()
    with Journal.open(path) as journal:
        assert len(journal.decisions()) == len(journal.observations()) == last


def test_an_upgrade_on_a_full_disk_changes_nothing(small_disk: Path) -> None:
    path = small_disk / "journal.sqlite3"
    keys = version_1(path)
    before = path.read_bytes()
    filler = fill(small_disk, leave=len(before) // 2)
    with pytest.raises(JournalFullError):
        Journal.open(path)
    assert path.read_bytes() == before
    assert not list(small_disk.glob("*.v1*"))
    filler.unlink()
    with Journal.open(path) as journal:
        check_upgraded(journal, keys)


def test_a_sweep_is_paused_until_there_is_room(small_disk: Path) -> None:
    said: list[str] = []
    waited: list[float] = []
    with new_journal(small_disk / "journal.sqlite3") as journal:
        cell = journal.cells()[1].key
        filler = fill(small_disk)
        last = write_until_full(journal)

        def sleep(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == 3:
                filler.unlink()

        observation, decision = observe(cell, last + 1, 2.0), stop(cell, last + 1)
        wait_until_written(
            lambda: journal.record(observation, decision),
            still_wanted=lambda: True,
            pause=2.5,
            sleep=sleep,
            say=said.append,
        )
        assert journal.observations()[-1] == observation
        assert waited == [2.5, 2.5, 2.5]
        assert said == [
            f"the sweep is paused: {small_disk} has 0 B free, its journal needs 8.0 MiB; "
            "free some space to continue",
            "there is room for the journal again; the sweep continues",
        ]


def test_a_pause_ends_when_nobody_waits_for_it_any_more(small_disk: Path) -> None:
    wanted = iter([True, True, False])
    with new_journal(small_disk / "journal.sqlite3") as journal:
        cell = journal.cells()[1].key
        fill(small_disk)
        last = write_until_full(journal)
        with pytest.raises(KeyboardInterrupt):
            wait_until_written(
                lambda: journal.record(observe(cell, last + 1, 2.0), None),
                still_wanted=lambda: next(wanted),
                sleep=lambda _: None,
                say=lambda _: None,
            )
        assert len(journal.observations()) == last


def test_what_is_written_at_once_is_not_spoken_of() -> None:
    said: list[str] = []
    assert wait_until_written(lambda: 7, still_wanted=lambda: False, say=said.append) == 7
    assert said == []
