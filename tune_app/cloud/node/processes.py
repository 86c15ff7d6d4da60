"""The processes of a node's Ray: found by a mark in their environment, ended by their number.

A name proves nothing: other users and other clusters of the machine may run Ray, too.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

logger = logging.getLogger(__name__)

MARK = "STELLUX_NODE"
"""In the environment of all that is started for a node's Ray, and so of all that they start."""


class ProcessesRemainError(OSError):
    """Processes of the node do not end."""


def mark_of(cluster: str, k: int) -> str:
    """The mark's value for node k: no other node of any cluster has it."""
    return f"{cluster}-{k}"


def marked(mark: str) -> list[psutil.Process]:
    """The living processes with the mark and their descendants, as far as this user may see them.

    The process that asks, and those it descends from, are never among them; nor are those of
    containers on this machine, which may play another node of the same name.
    """
    sought = f"{MARK}={mark}".encode()
    own = {os.getpid(), *(one.pid for one in psutil.Process().parents())}
    here = _container("self")
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if _container(str(process.pid)) != here:
                continue
            # Raw: Ray's agents write their title over the first variables, where parsers stop.
            if sought in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                for one in (process, *process.children(recursive=True)):
                    found[one.pid] = one
    return [one for pid, one in sorted(found.items()) if pid not in own and alive(one)]


def _container(pid: str) -> str:
    """The name of a process's namespace of process numbers."""
    return str(Path(f"/proc/{pid}/ns/pid").readlink())


def alive(process: psutil.Process) -> bool:
    """Whether it runs; one that only waits for its parent to take note does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end_marked(mark: str, *, grace_s: float, kill_s: float = 5.0) -> int:
    """Ends the marked processes: SIGTERM, and SIGKILL after `grace_s`. Returns how many there were.

    Processes started meanwhile are ended too: none is left when this returns. Raises
    ProcessesRemainError if somebody is, `kill_s` after SIGKILL.
    """
    ended: set[int] = set()
    killing_from = time.monotonic() + grace_s
    while found := marked(mark):
        now = time.monotonic()
        if now > killing_from + kill_s:
            raise ProcessesRemainError(
                f"processes of node {mark} do not end: {', '.join(described(found))}; they may "
                "wait for a disk: look at them with ps"
            )
        if now < killing_from:
            _send([one for one in found if one.pid not in ended], signal.SIGTERM)
        else:
            _send(found, signal.SIGKILL)
        ended |= {one.pid for one in found}
        time.sleep(0.1)
    if ended:
        logger.info("ended %d processes of node %s", len(ended), mark)
    return len(ended)


def _send(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def described(processes: Sequence[psutil.Process]) -> list[str]:
    """`PID command`, for a message."""
    lines = []
    for process in processes:
        with suppress(psutil.Error):
            lines.append(f"{process.pid} {' '.join(process.cmdline())[:80]}")
    return lines


def programs(processes: Sequence[psutil.Process]) -> dict[str, psutil.Process]:
    """Ray's own programs among the processes: gcs_server, raylet, monitor.

    They are known by what they run, not by their title.
    """
    found: dict[str, psutil.Process] = {}
    for process in processes:
        with suppress(psutil.Error):
            words = process.cmdline()
            for word in words[:3]:
                path = Path(word)
                name = path.name.removesuffix(".py")
                if "ray" in path.parts and name in ("gcs_server", "raylet", "monitor"):
                    found.setdefault(name, process)
    return found
