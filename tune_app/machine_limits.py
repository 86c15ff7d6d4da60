"""CPUs and memory that this process may use: affinity, and the limits of its container.

A container sees all CPUs and the memory of its host. What it may use is in its control group
(cgroup): for `docker run --cpus 2 --memory 4g`, a Kubernetes limit, or systemd's CPUQuota.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")

_NO_LIMIT = 2**60
"""Bytes above which a limit of version 1 means none: it writes the largest number it can hold."""


def usable_cpus(*, own: Path = OWN, cgroups: Path = CGROUPS) -> int:
    """CPUs that this process may use, at least 1; a quota of 2.5 CPUs counts as 2.

    Args:
        own: a file like /proc/self/cgroup, which names the process's groups.
        cgroups: where the groups are mounted.
    """
    try:
        cpus = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not on every system
        cpus = os.cpu_count() or 1
    quotas = [_quota(group) for group in groups("cpu", own=own, cgroups=cgroups)]
    return max(1, math.floor(min([cpus, *quotas])))


def usable_memory(*, own: Path = OWN, cgroups: Path = CGROUPS) -> int | None:
    """Bytes of memory that this process and its children may use; None if that is unknown."""
    limits = [_memory_limit(group) for group in groups("memory", own=own, cgroups=cgroups)]
    with contextlib.suppress(AttributeError, OSError, ValueError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    least = min(limits, default=math.inf)
    return None if math.isinf(least) else int(least)


def groups(controller: str, *, own: Path = OWN, cgroups: Path = CGROUPS) -> Iterator[Path]:
    """Folders of this process's groups for a controller, the innermost first, up to the root.

    A limit on any of them holds. Inside a container its own group is mounted as the root, whatever
    its path outside.
    """
    try:
        lines = own.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = controllers.split(",")
        if controller in names:  # version 1: a tree for each controller
            root = cgroups / controller
        elif not controllers:  # version 2: one tree
            root = cgroups
        else:
            continue
        inner = PurePosixPath(path.lstrip("/"))
        for folder in (inner, *inner.parents) if inner.parts else (inner,):
            if (root / folder).is_dir():
                yield root / folder


def _quota(group: Path) -> float:
    """CPUs' worth of time that a group may use; infinite if it has no quota."""
    quota, period = "", ""
    if words := _words(group / "cpu.max"):
        quota, period = words[0], words[-1]
    elif words := _words(group / "cpu.cfs_quota_us"):
        quota, period = words[0], " ".join(_words(group / "cpu.cfs_period_us"))
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:
        return math.inf  # "max" in version 2, "-1" in version 1
    return int(quota) / int(period)


def _memory_limit(group: Path) -> float:
    """Bytes; infinite if the group has no limit."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        words = _words(group / name)
        if words and words[0].isdecimal() and int(words[0]) < _NO_LIMIT:
            return int(words[0])
    return math.inf


def _words(file: Path) -> list[str]:
    try:
        return file.read_text("ascii").split()
    except (OSError, ValueError):
        return []
