"""A container's share of its host: affinity, quotas and memory limits of its control groups."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tune_app.machine_limits import usable_cpus, usable_memory

GIB = 2**30
QUOTA, PERIOD = "cpu.cfs_quota_us", "cpu.cfs_period_us"


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """On any machine: 8 CPUs and 64 GiB."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    sizes = {"SC_PHYS_PAGES": 64 * GIB // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)


def made(folder: Path, own: str, files: Mapping[str, str]) -> dict[str, Path]:
    (folder / "own").write_text(own)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return {"own": folder / "own", "cgroups": folder}


@pytest.mark.parametrize(
    ("own", "files", "cpus"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "6400000 100000\n"}, 8),
        # A parent's quota holds as well, as systemd's for a slice.
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        # In a container with its group's outer path in /proc, and the group itself as the root.
        ("0::/docker/f00\n", {"cpu.max": "400000 100000\n"}, 4),
        ("3:cpu,cpuacct:/x\n", {f"cpu/x/{QUOTA}": "200000", f"cpu/x/{PERIOD}": "100000"}, 2),
        ("3:cpu:/x\n", {f"cpu/{QUOTA}": "100000", f"cpu/{PERIOD}": "50000"}, 2),
        ("3:cpu:/\n", {f"cpu/{QUOTA}": "-1", f"cpu/{PERIOD}": "100000"}, 8),
        ("0::/\n", {"cpu.max": "\n"}, 8),
        ("0::/\n", {"cpu.max": "100000 0\n"}, 8),
        ("garbage\n", {}, 8),
        ("", {}, 8),
    ],
)
def test_a_quota_limits_the_cpus(
    tmp_path: Path, own: str, files: Mapping[str, str], cpus: int
) -> None:
    assert usable_cpus(**made(tmp_path, own, files)) == cpus


def test_affinity_limits_the_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert usable_cpus(own=tmp_path / "missing") == 1


@pytest.mark.parametrize(
    ("own", "files", "memory"),
    [
        ("0::/\n", {"memory.max": f"{4 * GIB}\n"}, 4 * GIB),
        ("0::/\n", {"memory.max": "max\n"}, 64 * GIB),
        ("0::/\n", {"memory.max": f"{500 * GIB}\n"}, 64 * GIB),
        ("0::/a\n", {"a/memory.max": "max\n", "memory.max": f"{2 * GIB}\n"}, 2 * GIB),
        ("4:memory:/x\n", {"memory/x/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 64 * GIB),
        ("", {}, 64 * GIB),
    ],
)
def test_a_limit_holds_for_memory(
    tmp_path: Path, own: str, files: Mapping[str, str], memory: int
) -> None:
    assert usable_memory(**made(tmp_path, own, files)) == memory
