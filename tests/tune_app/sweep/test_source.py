from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tune_app.sweep.source import UNKNOWN, source_version


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@b.example")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "file.py").write_text("x = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "file.py")
    git(tmp_path, "commit", "-qm", "one")
    return tmp_path


def test_a_checkout_is_named_by_its_commit_and_whether_it_was_changed(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")[:12]
    (checkout / "notes.txt").write_text("no part of the source")
    assert source_version(checkout) == commit
    (checkout / "file.py").write_text("x = 2\n")
    assert source_version(checkout) == f"{commit}, changed"


def test_a_checkout_without_a_commit_or_a_git_that_works_is_unknown(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    assert source_version(empty) == UNKNOWN
    monkeypatch.setenv("PATH", "/nowhere")
    assert source_version(checkout) == UNKNOWN


def test_a_folder_inside_a_checkout_of_something_else_is_unknown(checkout: Path) -> None:
    installed = checkout / "site-packages"
    installed.mkdir()
    assert source_version(installed) == UNKNOWN


def test_a_head_names_its_source_by_content(tmp_path: Path) -> None:
    folder = tmp_path / "code-0123456789abcdef"
    folder.mkdir()
    assert source_version(folder) == "code-0123456789abcdef"
