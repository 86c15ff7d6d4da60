"""How often the kernel killed a process for lack of memory, by the cgroup's count."""

from __future__ import annotations

from pathlib import Path

from tune_app.machine_limits import CGROUPS, OWN, groups


def oom_kills(*, own: Path = OWN, cgroups: Path = CGROUPS) -> int | None:
    """OOM kills in this process's cgroup since it was created; None if they are not counted.

    Reads `memory.events` of cgroup v2 or `memory.oom_control` of v1.

    Args:
        own: a file like /proc/self/cgroup, which names the process's groups.
        cgroups: where the groups are mounted.
    """
    for group in groups("memory", own=own, cgroups=cgroups):
        for name in ("memory.events", "memory.oom_control"):
            counted = _count(group / name)
            if counted is not None:
                return counted
    return None


def _count(file: Path) -> int | None:
    try:
        lines = file.read_text("ascii").splitlines()
    except (OSError, ValueError):
        return None
    for line in lines:
        name, _, number = line.partition(" ")
        if name == "oom_kill" and number.strip().isdecimal():
            return int(number)
    return None
