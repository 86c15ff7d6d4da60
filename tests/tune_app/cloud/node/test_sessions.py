"""Of Ray's earlier sessions only old ones go that are the user's own and that nobody uses."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tune_app.cloud.node.sessions import remove_old_sessions


@pytest.fixture
def folder() -> Iterator[Path]:
    """Sessions of five days, the last of which has just begun."""
    # A short path: a socket's has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as name:
        made = Path(name)
        for day in range(1, 6):
            session = made / f"session_2026-11-0{day}_10-00-00_000000_7"
            (session / "logs").mkdir(parents=True)
            (session / "logs" / "raylet.out").write_text("a line", "utf-8")
            if day < 5:
                age(session)
        (made / "session_latest").symlink_to(made / "session_2026-11-05_10-00-00_000000_7")
        (made / "ray_current_cluster").write_text("127.77.0.1:6379", "utf-8")
        yield made


def age(session: Path) -> None:
    os.utime(session, (time.time() - 7_200,) * 2)


def days(folder: Path) -> str:
    return "".join(path.name[17] for path in sorted(folder.glob("session_2*")))


def test_the_newest_stay(folder: Path) -> None:
    assert remove_old_sessions(folder) == 3
    assert days(folder) == "45"
    assert (folder / "session_latest" / "logs" / "raylet.out").exists()
    assert (folder / "ray_current_cluster").exists()
    assert remove_old_sessions(folder) == 0
    assert remove_old_sessions(folder / "none") == 0


def test_what_has_just_begun_stays(folder: Path) -> None:
    assert remove_old_sessions(folder, kept=0) == 4
    assert days(folder) == "5"


def test_what_a_process_names_or_listens_in_stays(folder: Path) -> None:
    first, second = sorted(folder.glob("session_2*"))[:2]
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(second / "s"))
        listening.listen()
        age(second)
        program = [sys.executable, "-c", "input()", f"--session-dir={first}"]
        with subprocess.Popen(program, stdin=subprocess.PIPE) as user:
            assert remove_old_sessions(folder) == 1
            assert user.poll() is None
            user.communicate(b"\n")
    assert days(folder) == "1245"


def test_another_users_stay_and_links_are_not_followed(folder: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("giving a folder to another user takes root")
    first, second = sorted(folder.glob("session_2*"))[:2]
    os.chown(first, 65_534, 65_534)
    elsewhere = folder / "elsewhere"
    second.rename(elsewhere)
    second.symlink_to(elsewhere)
    assert remove_old_sessions(folder) == 1
    assert first.exists()
    assert (elsewhere / "logs" / "raylet.out").exists()
