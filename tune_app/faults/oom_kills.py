"""How often the kernel killed a process for lack of memory, by the cgroup's count."""

from __future__ import annotations

from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def oom_kills(*, own: Path = _OWN, cgroups: Path = _CGROUPS) -> int | None:
    """OOM kills in this process's cgroup since it was created; None if they are not counted.

    Reads `memory.events` of cgroup v2 or `memory.oom_control` of v1.

    Args:
        own: a file like /proc/self/cgroup, which names the process's groups.
        cgroups: where the groups are mounted.
    """
    try:
        lines = own.read_text("utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            folder, file = cgroups / "memory", "memory.oom_control"
        elif controllers == "":
            folder, file = cgroups, "memory.events"
        else:
            continue
        # Inside a container its own group is mounted as the root, whatever its path outside.
        for group in (folder / path.lstrip("/"), folder):
            counted = _count(group / file)
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
