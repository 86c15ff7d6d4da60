"""Results come home over a real SSH server, whole, or it is said what is not here."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune_app.cloud.daemon.daemons import until
from tests.tune_app.cloud.loopback_head import LoopbackHead
from tune_app.cloud.head.shell import HeadUnreachableError
from tune_app.cloud.head_machine.fetch_results import (
    HEAD_FILE,
    PARTIAL,
    FetchError,
    copied,
    fetch,
    sources,
)

pytestmark = pytest.mark.services


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHead]:
    if not Path("/etc/machine-id").is_file():
        pytest.skip("this machine has no /etc/machine-id, as systemd makes it")
    with LoopbackHead(tmp_path / "head", "192.0.2.1") as made:
        monkeypatch.setenv("PATH", made.path)
        yield made


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    """What a head has after a sweep."""
    runs, store = tmp_path / "there" / "runs", tmp_path / "there" / "store"
    for path, size in ((runs / "quick" / "journal.sqlite", 5_000), (store / "c" / "1.pt", 70_000)):
        path.parent.mkdir(parents=True)
        path.write_bytes(os.urandom(size))
    (store / "c" / "1.pt").chmod(0o600)
    return {"runs": str(runs), "store": str(store), "none": str(tmp_path / "there" / "none")}


def test_where_a_head_has_its_results() -> None:
    assert sources("/srv/stellux") == {
        "runs": "/home/stellux/runs",
        "store": "/srv/stellux/store",
    }


def test_everything_is_fetched_and_only_once(
    head: LoopbackHead, folders: dict[str, str], tmp_path: Path
) -> None:
    said: list[str] = []
    target = tmp_path / "here"
    for _ in range(2):
        fetched = fetch(head.shell, folders, target, say=said.append)
        assert (fetched.files, fetched.bytes) == (2, 75_000)
    here = (target / "store" / "c" / "1.pt").read_bytes()
    assert here == (Path(folders["store"]) / "c" / "1.pt").read_bytes()
    assert (target / "runs" / "quick" / "journal.sqlite").stat().st_size == 5_000
    assert not (target / "none").exists()
    assert said[0] == f"fetching {folders['runs']} of the head 192.0.2.1 to {target / 'runs'}"


def test_a_link_in_a_folders_place_is_not_followed(
    head: LoopbackHead, folders: dict[str, str], tmp_path: Path
) -> None:
    secrets = tmp_path / "etc-stellux"
    secrets.mkdir()
    (secrets / "vast_key").write_text("secret")
    (tmp_path / "there" / "linked").symlink_to(secrets)
    with pytest.raises(FetchError, match="is, or is behind, a symbolic link"):
        fetch(head.shell, {"runs": str(tmp_path / "there" / "linked")}, tmp_path / "here", say=str)
    assert not list((tmp_path / "here").rglob("vast_key"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root reads as others")
def test_a_folder_is_read_as_its_owner(
    head: LoopbackHead, folders: dict[str, str], tmp_path: Path
) -> None:
    runs = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="runs-"))
    try:
        os.chown(runs, 65_534, 65_534)
        (runs / "mine").write_text("mine")
        (runs / "roots").write_text("secret")
        (runs / "roots").chmod(0o600)
        with pytest.raises(FetchError, match="Permission denied"):
            fetch(head.shell, {"runs": str(runs)}, tmp_path / "here", say=str)
    finally:
        shutil.rmtree(runs)
    assert (tmp_path / "here" / "runs" / "mine").read_text() == "mine"
    assert not (tmp_path / "here" / "runs" / "roots").exists()


def test_a_journal_fetched_beside_a_sweep_is_whole_when_fetched_after_it(
    head: LoopbackHead, folders: dict[str, str], tmp_path: Path
) -> None:
    there, here = Path(folders["runs"]) / "quick", tmp_path / "here"
    with closing(sqlite3.connect(there / "journal.sqlite3")) as journal:
        journal.execute("pragma journal_mode = wal")
        journal.execute("create table points (tokens)")
        journal.executemany("insert into points values (?)", [(n,) for n in range(5_000)])
        journal.commit()
        fetch(head.shell, folders, here, say=lambda _: None)
        journal.execute("delete from points where tokens < 4000")
        journal.commit()
        journal.execute("vacuum")
    mine = here / "runs" / "quick"
    assert (mine / "journal.sqlite3-wal").exists()
    (mine / "notes.txt").write_text("my own", "utf-8")
    fetch(head.shell, folders, here, say=lambda _: None)
    assert not (mine / "journal.sqlite3-wal").exists()
    assert (mine / "notes.txt").exists()
    with closing(sqlite3.connect(mine / "journal.sqlite3")) as journal:
        assert journal.execute("pragma integrity_check").fetchone() == ("ok",)
        assert journal.execute("select count(*) from points").fetchone() == (1_000,)


def test_what_was_cut_off_goes_on_where_it_was(
    head: LoopbackHead, folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = Path(folders["store"]) / "c" / "2.pt"
    large.write_bytes(os.urandom(4_000_000))
    target = tmp_path / "here"
    rsync = head.path.partition(":")[0]
    began = threading.Event()

    def cut_off() -> None:
        """Ends rsync on the head in the middle of the large file."""
        began.wait(20)
        until(lambda: any((target / "store" / "c").glob(".2.pt.*")))
        time.sleep(0.3)
        os.kill(int((tmp_path / "pid").read_text()), 15)

    # As a slow line would be.
    program = Path(rsync) / "rsync"
    program.write_text(
        f'#!/bin/sh\necho $$ >{tmp_path}/pid\nexec /usr/bin/rsync --bwlimit=1000 "$@"\n'
    )
    program.chmod(0o755)
    thread = threading.Thread(target=cut_off)
    thread.start()
    began.set()
    with pytest.raises(FetchError, match=r"there/store was not fetched completely: .*rsync error"):
        fetch(head.shell, folders, target, say=lambda _: None)
    thread.join()
    part = target / "store" / "c" / PARTIAL / "2.pt"
    assert 0 < part.stat().st_size < 4_000_000
    assert not (target / "store" / "c" / "2.pt").exists()

    program.unlink()
    assert fetch(head.shell, folders, target, say=lambda _: None).files == 3
    assert (target / "store" / "c" / "2.pt").read_bytes() == large.read_bytes()
    assert not part.exists()


def test_what_grows_while_it_is_fetched_is_told(
    head: LoopbackHead, folders: dict[str, str], tmp_path: Path
) -> None:
    journal = Path(folders["runs"]) / "quick" / "journal.sqlite"
    # Each time that the head is asked for its files, its sweep has written again.
    head.program_there("rsync", f'echo more >>{journal}; exec /usr/bin/rsync "$@"')
    with pytest.raises(
        FetchError, match=r"1 files of .*runs changed .* quick/journal\.sqlite: stop"
    ):
        fetch(head.shell, folders, tmp_path / "here", say=lambda _: None)


def test_another_head_s_results_are_not_written_over(
    head: LoopbackHead, folders: dict[str, str], tmp_path: Path
) -> None:
    target = tmp_path / "here"
    fetch(head.shell, folders, target, say=lambda _: None)
    (target / HEAD_FILE).write_text("another\n", "utf-8")
    with pytest.raises(FetchError, match=r"here has the results of another head.*; move it away"):
        fetch(head.shell, folders, target, say=lambda _: None)


def test_a_link_that_leads_out_is_not_brought_home(
    head: LoopbackHead, folders: dict[str, str], tmp_path: Path
) -> None:
    (Path(folders["store"]) / "c" / "out").symlink_to("/etc/passwd")
    (Path(folders["store"]) / "c" / "in").symlink_to("1.pt")
    fetch(head.shell, folders, tmp_path / "here", say=lambda _: None)
    there = {path.name for path in (tmp_path / "here" / "store" / "c").iterdir()}
    assert there == {"1.pt", "in"}


def test_a_stranger_is_not_asked(
    head: LoopbackHead, folders: dict[str, str], tmp_path: Path
) -> None:
    strange = tmp_path / "strange"
    strange.write_text("", "utf-8")
    with pytest.raises(HeadUnreachableError, match="its host key is not known here"):
        fetch(
            replace(head.shell, known_hosts=str(strange)),
            folders,
            tmp_path / "here",
            say=lambda _: None,
        )
    assert not (tmp_path / "here").exists()


def test_a_head_without_rsync_says_so(
    head: LoopbackHead, folders: dict[str, str], tmp_path: Path
) -> None:
    head.program_there("rsync", "echo 'rsync: command not found' >&2; exit 127")
    with pytest.raises(FetchError, match=r"not fetched completely: .*rsync: command not found"):
        fetch(head.shell, folders, tmp_path / "here", say=lambda _: None)


def test_what_rsync_sent_is_read_from_its_own_lines(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    (source / "with a space").write_text("x")
    (source / "link").symlink_to("with a space")
    line = ["rsync", "-rlt", "--out-format=%i %n", f"{source}/", f"{target}/"]
    try:
        told = subprocess.run(line, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        pytest.skip("no rsync on this machine")
    assert sorted(copied(told.splitlines())) == ["link", "with a space"]
