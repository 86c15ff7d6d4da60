"""The folder of a sweep, and its lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from tune_app.sweep.folder import SweepBusyError, exclusive


def test_a_place_that_is_no_folder_is_refused_with_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "results"
    file.write_text("mine", "utf-8")
    with (
        pytest.raises(NotADirectoryError, match="not a folder; choose another --results"),
        exclusive(file / "quick"),
    ):
        pass
    assert file.read_text("utf-8") == "mine"


def test_a_sweep_that_is_running_is_not_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "quick"
    with (
        exclusive(folder),
        pytest.raises(SweepBusyError, match="is already running"),
        exclusive(folder),
    ):
        pass
    with exclusive(folder):
        pass
