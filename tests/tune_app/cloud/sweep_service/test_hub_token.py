"""The hub's token reaches the sweep's driver, and nothing else."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from data import errors
from tune_app.cloud import commands
from tune_app.cloud.head.shell import HeadCommandError, HeadShell
from tune_app.cloud.sweep_service.hub_token import (
    TOKEN_VARIABLE,
    checked_token,
    store_token,
    with_token,
)
from tune_app.cloud.sweep_service.supervisor import SweepFiles, SweepSupervisor

TOKEN = "hf_" + "a1B2" * 8


class Head(HeadShell):
    """Notes what is run there."""

    def run(
        self, words: Iterable[str], *, stdin: bytes = b"", timeout_s: float | None = 300.0
    ) -> str:
        SEEN.append((list(words), stdin))
        if REFUSED:
            raise HeadCommandError(REFUSED[0])
        return ""


SEEN: list[tuple[list[str], bytes]] = []
REFUSED: list[str] = []


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Head:
    monkeypatch.setattr(sys.modules[__name__], "SEEN", [])
    monkeypatch.setattr(sys.modules[__name__], "REFUSED", [])
    return Head(address="192.0.2.1", user="root")


def test_it_is_sent_over_standard_input_and_only_if_there_is_one(
    head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert errors.TOKEN_VARIABLE == TOKEN_VARIABLE
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    commands._send_token(head)
    assert SEEN == []
    monkeypatch.setenv(TOKEN_VARIABLE, f"{TOKEN}\n")
    commands._send_token(head)
    ((words, stdin),) = SEEN
    assert words[-1] == "token"
    assert TOKEN not in " ".join(words)
    assert stdin == TOKEN.encode()
    REFUSED.append('Unknown command "token"')
    with pytest.raises(HeadCommandError, match="run ray up again") as caught:
        commands._send_token(head)
    assert TOKEN not in str(caught.value)


def test_only_its_user_may_read_the_file_and_an_empty_token_removes_it(tmp_path: Path) -> None:
    path = tmp_path / "files" / "hub_token"
    assert with_token(path) == {}
    store_token(TOKEN, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert with_token(path) == {TOKEN_VARIABLE: TOKEN}
    store_token("", path)
    assert not path.exists()


@pytest.mark.parametrize("text", ["two words", "hf_ü", "x" * 501, "a\nb", "a\0b"])
def test_what_is_no_token_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match=f"{TOKEN_VARIABLE} is no access token") as caught:
        checked_token(text)
    assert text not in str(caught.value)


def test_the_driver_has_it_and_it_goes_with_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    (tmp_path / "shows.py").write_text(
        f"import os, pathlib; pathlib.Path('seen').write_text(os.environ[{TOKEN_VARIABLE!r}])"
    )
    (tmp_path / "started").write_text("1")
    files = SweepFiles(folder=tmp_path / "files")
    files.write_job(["space"])
    store_token(TOKEN, files.token)
    with socket.create_server(("127.0.0.1", 0)) as ray:
        driver: dict[str, Any] = {"ray_s": 5.0, "look_s": 0.02, "steady_s": 0.1, "pause_s": 0.01}
        code = SweepSupervisor(
            files=files,
            started=tmp_path / "started",
            ray=("127.0.0.1", ray.getsockname()[1]),
            home=tmp_path,
            variables={"PYTHONPATH": str(tmp_path)},
            module="shows",
            **driver,
        ).run(threading.Event())
    assert code == 0
    assert (tmp_path / "seen").read_text() == TOKEN
    assert not files.token.exists()
    for path in files.folder.iterdir():
        assert TOKEN not in path.read_text()
    assert json.loads(files.job.read_text())["arguments"] == ["space"]
