"""The processes of a chaos run: found by session or by mark, frozen, killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "STELLUX_CHAOS"
"""In the environment of every process that a chaos run starts, and of their children."""


@dataclass(frozen=True, kw_only=True)
class TrialWorker:
    """A worker process of Ray that trains a cell."""

    process: psutil.Process
    cell: str


def members(session: int) -> list[psutil.Process]:
    """The living processes of a session, those included whose parent has died."""
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and os.getsid(process.pid) == session:
                found.append(process)
    return found


def marked(token: str) -> list[psutil.Process]:
    """The living processes with a run's mark, wherever they hang in the tree of processes."""
    mark = f"{MARK}={token}".encode()
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, OSError):
            alive = process.status() != psutil.STATUS_ZOMBIE
            # Raw: Ray's agents write their title over the first variables, where parsers stop.
            if alive and mark in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                found.append(process)
    return found


def trial_workers(session: int) -> list[TrialWorker]:
    """The workers of a node that train now.

    Ray names a worker after its actor, and Tune works in a folder that has the name of the trial,
    which is the key of its cell.
    """
    found = []
    for process in members(session):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            title = " ".join(process.cmdline())
            folder = Path(process.cwd())
            if title.startswith("ray::ResourceTrainable.") and folder.parent.name == "working_dirs":
                found.append(TrialWorker(process=process, cell=folder.name))
    return sorted(found, key=lambda worker: worker.cell)


def kill_session(session: int) -> None:
    """SIGKILL to a whole session; nobody is left in it when this returns."""
    _kill_all(lambda: members(session))


def kill_marked(token: str) -> None:
    """SIGKILL to all that a run has started; nobody is left when this returns."""
    _kill_all(lambda: marked(token))


def _kill_all(find: Callable[[], list[psutil.Process]], *, seconds: float = 10.0) -> None:
    """They are frozen first, so that none of them sees another die and starts something."""
    deadline = time.monotonic() + seconds
    while found := find():
        send(found, signal.SIGSTOP)
        send(found, signal.SIGKILL)
        assert time.monotonic() < deadline, f"they do not die: {describe(found)}"
        time.sleep(0.02)


def send(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    """A signal to those that still live; a process that took over an old number gets none."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def describe(processes: Sequence[psutil.Process]) -> list[str]:
    """`PID command`, for a message."""
    lines = []
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            lines.append(f"{process.pid} {' '.join(process.cmdline())[:80]}")
    return lines
