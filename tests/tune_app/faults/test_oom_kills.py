"""An OOM kill is counted by the kernel; nobody has to guess."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tune_app.faults.oom_kills import oom_kills

LIMIT = 64 * 2**20


def test_version_2_is_read_from_its_group_or_from_the_root(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/system.slice/trial\n")
    (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert oom_kills(own=own, cgroups=tmp_path) == 2
    group = tmp_path / "system.slice/trial"
    group.mkdir(parents=True)
    (group / "memory.events").write_text("low 0\noom_kill 5\n")
    assert oom_kills(own=own, cgroups=tmp_path) == 5


def test_version_1_is_read_from_the_memory_controller(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("4:memory:/docker/abc\n3:cpu:/docker/abc\n0::/\n")
    group = tmp_path / "memory/docker/abc"
    group.mkdir(parents=True)
    (group / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n")
    assert oom_kills(own=own, cgroups=tmp_path) == 7


@pytest.mark.parametrize("text", ["", "0::/\n"])
def test_nobody_counts(tmp_path: Path, text: str) -> None:
    own = tmp_path / "own"
    own.write_text(text)
    assert oom_kills(own=own, cgroups=tmp_path) is None
    assert oom_kills(own=tmp_path / "missing", cgroups=tmp_path) is None


def test_a_real_kill_for_want_of_memory_is_counted(tmp_path: Path) -> None:
    """A process in a cgroup of 64 MB takes 200; another in the same group reads the count."""
    group = _group_with_a_limit()
    try:
        reader = "from tune_app.faults.oom_kills import oom_kills; print(oom_kills())"
        assert _inside(group, reader).stdout.strip() == "0"
        assert _inside(group, "x = bytearray(200 * 2**20)").returncode == -9
        assert int(_inside(group, reader).stdout) >= 1
    finally:
        group.rmdir()


def _group_with_a_limit() -> Path:
    name = f"stellux-test-{os.getpid()}"
    for folder, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = folder / name
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(LIMIT))
        except OSError:
            group.rmdir()
            continue
        return group
    pytest.skip("no cgroup with a memory limit can be made here (needs root)")


def _inside(group: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Runs a program that enters the group first."""
    enter = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')\n"
    return subprocess.run(
        [sys.executable, "-c", enter + program],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
