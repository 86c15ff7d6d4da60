"""Looking at a sweep of another user, or on a read-only disk."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import tune_app.terminal.tables  # noqa: F401 - while the interpreter's folder can be read
from tests.tune_app.sweeps import new_journal
from tests.write_protection import protect, write_protected
from tune_app.command_line import run_command
from tune_app.journal.journal import Journal
from tune_app.sweep.__main__ import MODULE, app
from tune_app.sweep.folder import is_running


def code_of(*arguments: str) -> object:
    try:
        return run_command(app, MODULE, arguments)
    except SystemExit as ended:
        return ended.code


def test_status_reads_and_report_writes_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[Path, bool]] = []

    def write_results(_: Journal, folder: Path, *, live: bool) -> None:
        written.append((folder, live))

    module = SimpleNamespace(write_results=write_results)
    monkeypatch.setitem(sys.modules, "tune_app.results.write", module)
    with write_protected() as results:
        own = results / "mine"
        with new_journal(own / "journal.sqlite3"):
            assert is_running(own)
        protect(results)
        assert not is_running(own)
        told = ["mine", "--results", str(results)]
        assert code_of("status", *told) == 0
        assert "3 cells" in capsys.readouterr().out
        assert code_of("report", *told) == 2
        error = capsys.readouterr().err
        assert f"{own} cannot be written (Permission denied)" in error
        assert "choose another folder for the results with --to" in error
        assert not written
        assert code_of("report", *told, "--to", str(results.parent)) == 0
    assert written == [(results.parent, False)]
