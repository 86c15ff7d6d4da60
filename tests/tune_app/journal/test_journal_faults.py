"""The journal under what goes wrong: cut logs, killed writers, second writers, jumping clocks."""

from __future__ import annotations

import math
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune_app.old_journals import remove_what_version_4_added
from tests.tune_app.sweeps import new_journal, observe
from tests.write_protection import protect, write_protected
from tune_app.journal.journal import Journal, JournalError
from tune_app.journal.records import DIVERGED, Action, Decision, Failure, FailureClass, Status

WAL_HEADER, FRAME_HEADER = 32, 24
"""Bytes, of the file format of SQLite's write-ahead log (sqlite.org/fileformat2.html)."""

ROWS = 1_000

WRITER = f"""
import sys
from pathlib import Path
from tests.tune_app.sweeps import observe
from tests.tune_app.journal.test_journal_faults import stop
from tune_app.journal.journal import Journal

journal = Journal.open(Path(sys.argv[1]))
cell = journal.cells()[1].key
for tokens in range(1, {ROWS} + 1):
    journal.record(observe(cell, tokens, 2.0), stop(cell, tokens))
    print(tokens, flush=True)
sys.stdin.read()
"""


def stop(cell: str, tokens: int, rule: str = "asha-stop") -> Decision:
    return Decision(
        cell=cell, tokens=tokens, action=Action.STOP, rule=rule, reason=f"{rule} at {tokens}"
    )


def lost(cell: str, tokens: int) -> Failure:
    return Failure(
        cell=cell,
        kind=FailureClass.HOST,
        reason="lost",
        traceback="",
        ended=False,
        tokens=tokens,
    )


@contextmanager
def writing(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes rows and prints each that was acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        try:
            yield writer
        finally:
            writer.kill()


def acknowledged(writer: subprocess.Popen[str], *, rows: int) -> int:
    """Reads until so many rows are acknowledged."""
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) >= rows:
            return int(line)
    raise AssertionError("the writer ended by itself")


def kill(writer: subprocess.Popen[str]) -> int:
    """The last row that was acknowledged before the writer died of SIGKILL; 0 for none since."""
    assert writer.stdout is not None
    writer.kill()
    rest = writer.stdout.read().split()
    assert writer.wait() == -signal.SIGKILL
    return int(rest[-1]) if rest else 0


def writes(journal: Journal, cell: str, turn: int) -> list[Callable[[], object]]:
    """One of every kind that changes a cell."""
    return [
        lambda: journal.start_attempt(cell, host="worker-1"),
        lambda: journal.resumed(cell, turn),
        lambda: journal.beat(cell, turn, "worker-1"),
        lambda: journal.fail(lost(cell, turn)),
        lambda: journal.record(observe(cell, turn, math.nan), stop(cell, turn, DIVERGED)),
    ]


def contents(journal: Journal) -> object:
    """Everything that writes change. What was running is interrupted for who opens it next."""
    return (
        [
            replace(cell, status=Status.INTERRUPTED) if cell.status is Status.RUNNING else cell
            for cell in journal.cells()
        ],
        [repr(observation) for observation in journal.observations()],
        journal.decisions(),
        journal.failures(),
        journal.attempts(),
        journal.heartbeats(),
    )


def test_a_log_that_was_cut_anywhere_holds_what_was_written_before_the_cut(tmp_path: Path) -> None:
    source = tmp_path / "source" / "journal.sqlite3"
    log = source.with_name(source.name + "-wal")
    with new_journal(source) as journal:
        keys = [cell.key for cell in journal.cells()]
        states = [contents(journal)]
        for turn in range(1, 7):
            for write in writes(journal, keys[turn % 3], turn):
                write()
                states.append(contents(journal))
        database, frames = source.read_bytes(), log.read_bytes()
    with closing(sqlite3.connect(source)) as connection:
        page = connection.execute("PRAGMA page_size").fetchone()[0]
    size = FRAME_HEADER + page
    count = (len(frames) - WAL_HEADER) // size
    # The second word of a frame's header is not 0 where it ends a transaction.
    ends = [
        int.from_bytes(frames[start + 4 : start + 8], "big") > 0
        for start in range(WAL_HEADER, len(frames), size)
    ]
    assert sum(ends) == len(states) - 1, "one transaction a write"

    cuts = [(number, 0) for number in range(count + 1)]
    cuts += [(number, extra) for number in range(0, count, 7) for extra in (1, 8, 23, 24, size - 1)]
    cut_off = tmp_path / "cut" / "journal.sqlite3"
    for whole, extra in [*cuts, (-1, 0), (-1, 5)]:
        shutil.rmtree(cut_off.parent, ignore_errors=True)
        cut_off.parent.mkdir()
        cut_off.write_bytes(database)
        end = WAL_HEADER + whole * size + extra if whole >= 0 else extra
        cut_off.with_name(log.name).write_bytes(frames[:end])
        with Journal.open(cut_off) as journal:
            written = sum(ends[: max(0, whole)])
            assert contents(journal) == states[written], f"{whole} frames and {extra} bytes"
        with closing(sqlite3.connect(cut_off)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


@pytest.mark.parametrize("rows", [1, 60, 250, 600])
def test_sigkill_loses_no_acknowledged_row(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "journal.sqlite3"
    new_journal(path).close()
    with writing(path) as writer:
        last = acknowledged(writer, rows=rows)
        last = max(last, kill(writer))
    # The reader comes first: it finds the log as the dead writer left it.
    for read_only in (True, False):
        with Journal.open(path, read_only=read_only) as journal:
            written = [point.tokens for point in journal.observations()]
            # A row may be on the disk before its writer could say so.
            assert written in (list(range(1, last + 1)), list(range(1, last + 2)))
            assert [decision.tokens for decision in journal.decisions()] == written
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_it_is_read_while_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    new_journal(path).close()
    with writing(path) as writer, Journal.open(path, read_only=True) as reader:
        seen = [0]
        while seen[-1] < 100:
            at_least = acknowledged(writer, rows=seen[-1] + 1)
            with reader.one_moment():
                observed = [point.tokens for point in reader.observations()]
                assert [decision.tokens for decision in reader.decisions()] == observed
            assert len(observed) >= at_least
            seen.append(observed[-1])
        assert seen == sorted(seen)


def test_one_moment_is_not_moved_by_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    with new_journal(path) as writer, Journal.open(path, read_only=True) as reader:
        cell = writer.cells()[1].key
        with reader.one_moment():
            assert reader.observations() == []
            writer.record(observe(cell, 1, 2.0), stop(cell, 1))
            with reader.one_moment():
                assert reader.decisions() == []
        assert len(reader.decisions()) == 1


def test_a_second_writer_is_refused_and_readers_are_not(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    with new_journal(path):
        with pytest.raises(JournalError, match="written by another process; wait for that sweep"):
            Journal.open(path)
        with Journal.open(path, read_only=True) as reader:
            assert len(reader.cells()) == 3
    with Journal.open(path) as journal:
        assert len(journal.cells()) == 3


TAKE_LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:  # the bytes that SQLite's shared lock is one of
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)
"""


def test_a_process_that_opens_its_journal_twice_keeps_the_lock_of_the_first(tmp_path: Path) -> None:
    """Else another process could take itself for the last, and delete the log."""
    path = tmp_path / "journal.sqlite3"
    with new_journal(path) as journal:
        journal.cells()
        with Journal.open(path, read_only=True) as second:
            second.cells()
        found = subprocess.run(
            [sys.executable, "-c", TAKE_LOCK, str(path)],
            check=False,
            capture_output=True,
            text=True,
        )
        assert "Error" in found.stderr and found.returncode == 1, found


def test_the_lock_of_a_killed_writer_is_free(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    new_journal(path).close()
    with writing(path) as writer:
        acknowledged(writer, rows=1)
        with pytest.raises(JournalError, match="another process"):
            Journal.open(path)
        kill(writer)
        with Journal.open(path) as journal:
            assert journal.observations()


def test_a_creation_that_was_refused_leaves_the_lock_free(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    new_journal(path).close()
    with pytest.raises(JournalError, match="exists already"):
        new_journal(path)
    Journal.open(path).close()


def test_a_clock_that_jumps_changes_no_order(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    new_journal(path).close()
    jumps = iter(1_790_000_000.0 + 3600 * hours for hours in (0, -5, 7, -30, 2, -1, 9, -9, 4))
    with Journal.open(path, clock=lambda: next(jumps)) as journal:
        first, second, _ = (cell.key for cell in journal.cells())
        for tokens, cell in enumerate([first, second, first], start=1):
            journal.start_attempt(cell)
            journal.record(observe(cell, tokens, 2.0), stop(cell, tokens))
            journal.fail(lost(cell, tokens))
        expected = [(first, 1), (second, 2), (first, 3)]
        assert [(point.cell, point.tokens) for point in journal.observations()] == expected
        assert [(one.cell, one.tokens) for one in journal.decisions()] == expected
        assert [(one.cell, one.tokens) for one in journal.failures()] == expected
        assert [(one.cell, one.number) for one in journal.attempts()] == [
            (first, 1),
            (second, 1),
            (first, 2),
        ]
        times = [decision.at for decision in journal.decisions()]
        assert times != sorted(times)


# A journal of version 1

VERSION_1_FAILURES = """
CREATE TABLE failures (
    cell TEXT NOT NULL REFERENCES cells (key),
    reason TEXT NOT NULL,
    traceback TEXT NOT NULL,
    at REAL NOT NULL
) STRICT
"""


def version_1(path: Path) -> list[str]:
    """A journal as version 1 left it, with a failure of each kind; returns its cells' keys."""
    with new_journal(path) as journal:
        keys = [cell.key for cell in journal.cells()]
        journal.start_attempt(keys[0])
        journal.start_attempt(keys[0])
        journal.record(observe(keys[1], 50, math.nan), stop(keys[1], 50, DIVERGED))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        remove_what_version_4_added(connection)
        for table in ("failures", "attempts", "heartbeats"):
            connection.execute(f"DROP TABLE {table}")
        for column in ("baseline_config", "former_key"):
            connection.execute(f"ALTER TABLE cells DROP COLUMN {column}")
        connection.execute(VERSION_1_FAILURES)
        connection.executemany(
            "INSERT INTO failures VALUES (?, ?, ?, ?)",
            [
                (keys[0], "its process was lost 10 times", "process lost", 2.0),
                (keys[2], "KeyError: 'x'", "Traceback …\nKeyError: 'x'", 1.0),
            ],
        )
        connection.execute("PRAGMA user_version = 1")
    return keys


def check_upgraded(journal: Journal, keys: list[str]) -> None:
    assert [(one.cell, one.kind, one.at > 10) for one in journal.failures()] == [
        (keys[2], FailureClass.CODE, False),
        (keys[0], FailureClass.HOST, False),
        (keys[1], FailureClass.NUMBERS, True),
    ]
    assert all(failure.ended for failure in journal.failures())
    assert journal.failures()[0].traceback == "Traceback …\nKeyError: 'x'"
    assert journal.failures()[2].tokens == 50
    assert journal.cell(keys[1]).status is Status.STOPPED
    assert journal.cell(keys[0]).attempts == 2
    assert journal.attempts() == []
    assert journal.heartbeats() == {}


def test_a_journal_of_version_1_is_kept_and_brought_to_this_version(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    keys = version_1(path)
    before = path.read_bytes()
    with Journal.open(path) as journal:
        check_upgraded(journal, keys)
        assert journal.start_attempt(keys[0]) == 3
        journal.beat(keys[0], 10, "worker-1")
    with Journal.open(path, read_only=True) as journal:
        assert [attempt.number for attempt in journal.attempts()] == [3]
        assert journal.heartbeats()[keys[0]].tokens == 10
    kept = path.with_name("journal.sqlite3.v1")
    assert list(tmp_path.glob("*.v1*")) == [kept]
    Journal.open(path).close()
    # Whoever goes back to the older program has what it wrote.
    kept.replace(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 1
        assert connection.execute("SELECT count(*) FROM failures").fetchone()[0] == 2
    assert len(path.read_bytes()) == len(before)
    with Journal.open(path) as journal:
        check_upgraded(journal, keys)


def test_a_journal_of_version_1_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    keys = version_1(path)
    before = path.read_bytes()
    with Journal.open(path, read_only=True) as journal:
        check_upgraded(journal, keys)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            journal.beat(keys[0], 1, "")
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*.v1*"))


def test_an_upgrade_that_was_cut_off_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.sqlite3"
    keys = version_1(path)

    def cut_off(connection: sqlite3.Connection) -> None:
        connection.execute("DROP TABLE failures")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tune_app.journal.file.upgrade", cut_off)
        with pytest.raises(KeyboardInterrupt):
            Journal.open(path)
    path.with_name("journal.sqlite3.v1.new").write_bytes(b"half of a copy")
    with Journal.open(path) as journal:
        check_upgraded(journal, keys)
    assert not path.with_name("journal.sqlite3.v1.new").exists()


def test_two_upgrades_at_once_are_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    keys = version_1(path)
    with Journal.open(path) as journal, Journal.open(path, read_only=True) as reader:
        check_upgraded(reader, keys)
        assert contents(reader) == contents(journal)
        with pytest.raises(JournalError, match="another process"):
            Journal.open(path)


def test_a_reader_that_is_killed_harms_nobody(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    with new_journal(path) as journal:
        cell = journal.cells()[1].key
        program = (
            "import sys\n"
            "from pathlib import Path\n"
            "from tune_app.journal.journal import Journal\n"
            "journal = Journal.open(Path(sys.argv[1]), read_only=True)\n"
            "with journal.one_moment():\n"
            "    journal.observations()\n"
            "    print('reading', flush=True)\n"
            "    sys.stdin.read()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as reader:
            assert reader.stdout is not None
            reader.stdout.readline()
            journal.record(observe(cell, 1, 2.0), stop(cell, 1))
            reader.kill()
            reader.wait()
        journal.record(observe(cell, 2, 2.0), stop(cell, 2))
        assert [point.tokens for point in journal.observations()] == [1, 2]


@pytest.mark.parametrize("beside", [(), ("-wal",), ("-wal", "-shm")])
def test_a_journal_is_read_without_write_access(tmp_path: Path, beside: tuple[str, ...]) -> None:
    path = tmp_path / "journal.sqlite3"
    with write_protected() as folder, new_journal(path) as journal:
        cell = journal.cells()[0].key
        journal.record(observe(cell, 100, 2.0), None)
        if not beside:
            journal.close()
        for end in ("", *beside):
            shutil.copyfile(f"{path}{end}", folder / f"{path.name}{end}")
        files = {file: file.read_bytes() for file in folder.iterdir()}
        protect(folder)
        with pytest.raises(PermissionError):
            (folder / "new").touch()
        with Journal.open(folder / path.name, read_only=True) as reader:
            assert [point.tokens for point in reader.observations(cell)] == [100]
            with pytest.raises(sqlite3.OperationalError):
                reader.beat(cell, 100, "host")
        assert {file: file.read_bytes() for file in files} == files
        assert len(list(folder.iterdir())) == 1 + len(beside)


def test_a_journal_that_this_user_may_not_read_is_told(tmp_path: Path) -> None:
    with write_protected() as folder:
        path = folder / "journal.sqlite3"
        new_journal(path).close()
        path.chmod(0)
        protect(folder)
        with pytest.raises(JournalError, match=r"journal.sqlite3 cannot be read \(Permission"):
            Journal.open(path, read_only=True)
